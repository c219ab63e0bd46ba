"""Instruction following in the style of IFEval: generated prompts, lm-eval's own checkers.

The prompts are generated because google/IFEval is only on the hub. The wording of constraints,
which of them conflict and how a response is checked are lm-eval's (Zhou et al., arXiv 2311.07911),
so a score has the same meaning; the prompts differ, so scores are not comparable with IFEval's.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast
from unittest import mock

from sft_tradeoff.suite.base import Benchmark, Row, Samples, TaskDefinition, TaskOptions
from sft_tradeoff.suite.chat_task import chat_task
from sft_tradeoff.suite.items import Item

logger = logging.getLogger(__name__)

# Seed, lists and their order are part of every score: never change them.
SEED = 0
N_ITEMS = 300
MAX_NEW_TOKENS = 256  # about 190 words, enough for every constraint drawn here
METRICS = ("prompt_level_strict", "prompt_level_loose", "inst_level_strict", "inst_level_loose")


# Noun phrases to follow "about", and words that a text about it is likely to contain. No word is
# part of the phrase or of another word, because the checkers search for substrings.
_TOPICS = """\
learning to bake bread at home: flour oven dough patience kitchen crust
a lost cat that found its way back: street whiskers window collar hungry garden
the first snow of the winter: mittens silence chimney sled rooftop frozen
growing tomatoes on a balcony: sunlight water summer harvest soil leaves
a night spent camping in the mountains: lantern stars blanket tent river forest
learning to play the guitar as an adult: chord teacher finger practice melody song
the closing of an old cinema: ticket screen popcorn curtain poster velvet
a grandmother's recipe for apple pie: cinnamon butter oven memory notebook sugar
riding a bicycle to work every day: helmet traffic weather exercise street pedal
a school trip to a science museum: dinosaur teacher rocket planet guide robot
taking care of a rescue dog: leash trust blanket shelter park patience
a power cut during a storm: candle lightning neighbor battery thunder dinner
running a marathon for the first time: shoes finish crowd water stamina medal
a long train journey across the country: window station passenger luggage view ticket
the history of chocolate: cocoa sugar factory explorer flavor dessert
life on a small fishing boat: harbor storm nets captain island salt
teaching grandparents to use a smartphone: button camera message patience password battery
an abandoned house at the end of the street: dust window garden secret stairs shadow
the benefits of a good night's sleep: pillow dream energy routine bedroom memory
volunteering at a soup kitchen: kindness donation neighbor bread family hope
a robot that wants to become an artist: canvas color brush museum metal portrait
saving water in the home: shower garden bucket rain kitchen faucet
the story behind an old photograph: attic soldier frame letter wedding smile
opening a bookshop in a quiet town: shelf novel coffee customer window poetry
a day at the beach with the whole family: sandcastle towel waves picnic seagull umbrella
the discovery of a new planet: telescope orbit astronomer galaxy signal surface
growing up with many brothers and sisters: laughter dinner bedroom noise secret birthday
a beekeeper in the middle of a city: honey rooftop flower swarm summer neighbor
learning a foreign language: grammar accent travel mistake notebook vocabulary
a chess game between two old friends: queen victory silence bench strategy coffee
the importance of recycling: plastic bottle paper factory ocean future
a concert in the park: stage drummer crowd sunset melody blanket
working as a night nurse: hospital patient coffee kindness uniform sunrise
an unexpected message from an old friend: envelope stamp memory kitchen apology surprise
building a treehouse: hammer ladder branch rope nails plank
a lighthouse keeper and the sea: lamp storm rocks sailor winter ship
the sleeping habits of cats: sunlight energy hunter pillow whiskers afternoon
a cooking class for beginners: apron knife onion chef laughter recipe
the last day of summer camp: bonfire cabin goodbye canoe friend promise
repairing clothes instead of buying new ones: needle thread fabric button pocket sewing
a garden shared by a whole neighborhood: seeds fence shovel vegetable children harvest
watching birds from a kitchen window: feather sparrow morning notebook tree winter
a broken clock in the town square: tower mechanic pigeon silence mayor hour
"""
TOPICS = {
    phrase: words.split() for phrase, words in (line.split(": ") for line in _TOPICS.splitlines())
}

# Kinds of text in which placeholders such as [name] are natural, and others.
_FORMS = (
    "a short email to a friend about {topic}",
    "a short letter to the editor of a local newspaper about {topic}",
    "a short invitation to an evening talk about {topic}",
    "a short flyer for a community event about {topic}",
    "a short opening speech for an exhibition about {topic}",
)
_TEXTS = (
    "a short story about {topic}",
    "a short blog post about {topic}",
    "a short diary entry about {topic}",
    "a short newspaper article about {topic}",
    "a short essay about {topic}",
    "a short piece for a children's magazine about {topic}",
    "a short review of an imaginary book about {topic}",
    "a short script for a radio host who talks about {topic}",
)
_FRAMES = (
    "Write {text}.",
    "Please write {text}.",
    "Could you write {text}?",
    "Help me write {text}.",
    "I need {text}. Can you write it for me?",
)
_QUESTIONS = (
    "Would {topic} make a good subject for a short film?",
    "Would you read a whole book about {topic}?",
    "Should schools invite somebody to talk about {topic}?",
    "Could you listen to a friend talk about {topic} for an hour?",
)
_FIRST_WORDS = ("today", "imagine", "sometimes", "perhaps", "every", "once")
_END_PHRASES = (
    "What do you think?",
    "Any other questions?",
    "Thank you for reading!",
    "Is there anything else I can help with?",
)


class _Draw(NamedTuple):
    """What the constraints of one prompt draw from; no word is drawn twice."""

    rng: random.Random
    words: list[str]
    unused: Iterator[str]

    def take(self, n_words: int) -> list[str]:
        return sorted(next(self.unused) for _ in range(n_words))


def _word_frequency(draw: _Draw) -> Item:
    relation, frequency = draw.rng.choice((("at least", 2), ("at least", 3), ("less than", 3)))
    return {"keyword": draw.take(1)[0], "frequency": frequency, "relation": relation}


def _letter_frequency(draw: _Draw) -> Item:
    if draw.rng.random() < 0.5:
        letter, frequency = draw.rng.choice("bcdfghmpuw"), draw.rng.randint(5, 10)
        return {"letter": letter, "let_frequency": frequency, "let_relation": "at least"}
    # Keywords that another constraint may require must not contain the rare letter.
    letter = draw.rng.choice([c for c in "jkqvxz" if c not in "".join(draw.words)])
    return {"letter": letter, "let_frequency": draw.rng.randint(3, 5), "let_relation": "less than"}


def _number_of_words(draw: _Draw) -> Item:
    relation, low, high = draw.rng.choice((("at least", 4, 10), ("less than", 6, 12)))
    return {"num_words": 10 * draw.rng.randint(low, high), "relation": relation}


def _nth_paragraph(draw: _Draw) -> Item:
    n, word = draw.rng.randint(2, 4), draw.rng.choice(_FIRST_WORDS)
    return {"num_paragraphs": n, "nth_paragraph": draw.rng.randint(1, n), "first_word": word}


def _one_of(**options: Sequence[Any]) -> Callable[[_Draw], Item]:
    """Draw each argument from its options; without any, the constraint has no argument."""
    return lambda draw: {name: draw.rng.choice(values) for name, values in options.items()}


_LETTERS = "keywords:letter_frequency"
_LANGUAGE = "language:response_language"
_PLACEHOLDERS = "detectable_content:number_placeholders"
_POSTSCRIPT = "detectable_content:postscript"
_PARAGRAPHS = "length_constraints:number_paragraphs"
_NTH_PARAGRAPH = "length_constraints:nth_paragraph_first_word"
_BULLETS = "detectable_format:number_bullet_lists"
_ANSWER = "detectable_format:constrained_response"
_HIGHLIGHTS = "detectable_format:number_highlighted_sections"
_SECTIONS = "detectable_format:multiple_sections"
_TITLE = "detectable_format:title"
_REPEAT = "combination:repeat_prompt"
_END = "startend:end_checker"
_UPPER = "change_case:english_capital"
_LOWER = "change_case:english_lowercase"

# Arguments that a small model can satisfy. Two of lm-eval's 25 types need nltk's data and are left
# out: length_constraints:number_sentences and change_case:capital_word_frequency.
_ARGUMENTS: dict[str, Callable[[_Draw], Item]] = {
    "keywords:existence": lambda draw: {"keywords": draw.take(draw.rng.randint(2, 3))},
    "keywords:frequency": _word_frequency,
    "keywords:forbidden_words": lambda draw: {"forbidden_words": draw.take(2)},
    _LETTERS: _letter_frequency,
    _LANGUAGE: _one_of(language=("es", "fr", "de", "it", "pt")),
    _PARAGRAPHS: _one_of(num_paragraphs=range(2, 5)),
    "length_constraints:number_words": _number_of_words,
    _NTH_PARAGRAPH: _nth_paragraph,
    _PLACEHOLDERS: _one_of(num_placeholders=range(2, 4)),
    _POSTSCRIPT: _one_of(postscript_marker=("P.S.",)),
    _BULLETS: _one_of(num_bullets=range(3, 6)),
    _ANSWER: _one_of(),
    _HIGHLIGHTS: _one_of(num_highlights=range(2, 4)),
    _SECTIONS: _one_of(section_spliter=("Section", "SECTION"), num_sections=range(2, 5)),
    "detectable_format:json_format": _one_of(),
    _TITLE: _one_of(),
    "combination:two_responses": _one_of(),
    _REPEAT: _one_of(),  # the argument is the request itself
    _END: _one_of(end_phrase=_END_PHRASES),
    _UPPER: _one_of(),
    _LOWER: _one_of(),
    "punctuation:no_comma": _one_of(),
    "startend:quotation": _one_of(),
}
INSTRUCTION_TYPES = tuple(_ARGUMENTS)

# In addition to lm-eval's own table: at most one of each set in a prompt.
_EXCLUSIVE: tuple[set[str], ...] = (
    # Each determines the layout of the whole response.
    {_PARAGRAPHS, _NTH_PARAGRAPH, _BULLETS, _SECTIONS},
    # Each determines the last words, or the case of a given phrase.
    {_END, _POSTSCRIPT, _LOWER},
    {_END, _UPPER},
    {_SECTIONS, _UPPER, _LOWER},
    {_NTH_PARAGRAPH, _UPPER},
    # A title or a postscript would be a separate paragraph, or the start of one.
    {_NTH_PARAGRAPH, _TITLE},
    {_NTH_PARAGRAPH, _POSTSCRIPT},
    # The word and the letters are chosen for English.
    {_NTH_PARAGRAPH, _LANGUAGE},
    {_LETTERS, _LANGUAGE},
    # A line that starts with *highlighted text* is counted as a bullet point.
    {_BULLETS, _HIGHLIGHTS},
)


@functools.cache
def ifeval_module() -> ModuleType:
    """Import lm-eval's IFEval module without its download and seed its language detection."""
    # On import lm-eval downloads nltk's sentence model if it is missing; it is not needed here.
    with mock.patch("nltk.data.find"):
        from lm_eval.tasks.ifeval import instructions, utils
    instructions.langdetect.DetectorFactory.seed = 0
    # It logs the full text of every response whose language it cannot detect.
    instructions.logger.setLevel(logging.CRITICAL)
    return cast(ModuleType, utils)


def _compatible(a: str, b: str) -> bool:
    """Whether two instruction types may occur in one prompt."""
    if _REPEAT in (a, b):  # the repeated request alone could satisfy or violate the other
        return False
    table = ifeval_module().instructions_registry.INSTRUCTION_CONFLICTS  # not symmetric
    conflict = a in table[b] or b in table[a] or any({a, b} <= group for group in _EXCLUSIVE)
    return not conflict


def _draw_types(rng: random.Random, first: str) -> list[str]:
    """One to three compatible types; the first is given, so that all types are equally frequent."""
    types = [first]
    (n_types,) = rng.choices((1, 2, 3), weights=(5, 3, 2))
    while len(types) < n_types:
        fitting = [t for t in INSTRUCTION_TYPES if all(_compatible(t, other) for other in types)]
        if not fitting:
            break
        types.append(rng.choice(fitting))
    # Last, because text after an example of a list would read as part of the list.
    return sorted(types, key=lambda t: t in (_BULLETS, _SECTIONS))


def _request(rng: random.Random, topic: str, types: list[str]) -> str:
    if _ANSWER in types:
        return rng.choice(_QUESTIONS).format(topic=topic)
    text = rng.choice(_FORMS if _PLACEHOLDERS in types else _FORMS + _TEXTS)
    return rng.choice(_FRAMES).format(text=text.format(topic=topic))


def _item(index: int) -> Item:
    rng = random.Random(f"{SEED}:{index}")
    # 23 types and 43 topics in turn; coprime, so no pair is repeated in the first 989 items.
    topic, words = list(TOPICS.items())[index % len(TOPICS)]
    types = _draw_types(rng, INSTRUCTION_TYPES[index % len(INSTRUCTION_TYPES)])
    request = _request(rng, topic, types)
    draw = _Draw(rng, words, iter(rng.sample(words, len(words))))
    arguments = [
        {"prompt_to_repeat": request} if t == _REPEAT else _ARGUMENTS[t](draw) for t in types
    ]
    checkers = ifeval_module().instructions_registry.INSTRUCTION_DICT
    described = [
        checkers[t](t).build_description(**a) for t, a in zip(types, arguments, strict=True)
    ]
    return {
        "id": f"{index:03d}",
        "key": index,
        "prompt": "\n".join([request, *described]),
        "instruction_id_list": types,
        "kwargs": arguments,
    }


def build(source: Path | None = None) -> list[Item]:
    """Generate the prompts in the schema of google/IFEval, with an ``id``.

    Args:
        source: Ignored; there is no source material.

    Returns:
        :data:`N_ITEMS` items: ``id``, ``key``, ``prompt`` (without chat template),
        ``instruction_id_list`` and its ``kwargs``.
    """
    return [_item(index) for index in range(N_ITEMS)]


def _followed(item: Mapping[str, Any], response: str, check: Callable[..., Any]) -> list[float]:
    """1 or 0 per instruction, or NaN if its checker failed."""
    module, followed = ifeval_module(), []
    for instruction, arguments in zip(item["instruction_id_list"], item["kwargs"], strict=True):
        # One at a time, to know which checker failed.
        single = module.InputExample(item["key"], [instruction], item["prompt"], [arguments])
        try:
            followed.append(float(check(single, response).follow_all_instructions))
        except Exception as error:  # neither a pass nor a failure of the model
            reason = f"{type(error).__name__}: {error}"
            message = "item %s: the checker of %s failed on the response (%s); the score is NaN"
            logger.warning(message, item["id"], instruction, reason)
            followed.append(math.nan)
    return followed


def score(item: Mapping[str, Any], response: str) -> dict[str, float]:
    """Grade one response as lm-eval's ``ifeval`` does.

    Loose grading also accepts the response without its first or last line or its asterisks.

    Args:
        item: One item of :func:`build`.
        response: Generated text; it is searched and parsed, never executed.

    Returns:
        By metric. Prompt level: 1 if all instructions are followed, else 0. Instruction level: how
        many are followed. NaN, with the reason in the log, where a checker failed.
    """
    ifeval = ifeval_module()
    strict = _followed(item, response, ifeval.test_instruction_following_strict)
    loose = _followed(item, response, ifeval.test_instruction_following_loose)
    # Product and sum propagate NaN; min and all would not.
    scores = math.prod(strict), math.prod(loose), sum(strict), sum(loose)
    return dict(zip(METRICS, scores, strict=True))


def instruction_following_task(
    name: str, items: Sequence[Item], options: TaskOptions, max_gen_toks: int = MAX_NEW_TOKENS
) -> TaskDefinition:
    """Chat prompt, greedy generation, lm-eval's checkers as metrics.

    Args:
        name: The task's name.
        items: See :func:`build`.
        options: With the tokenizer.
        max_gen_toks: Largest number of tokens to generate.
    """
    better = dict.fromkeys(METRICS, True)
    return chat_task(name, items, options.tokenizer, score, better, max_gen_toks)


def instruction_following_rows(name: str, samples: Samples) -> list[Row]:
    """One row per item and metric: (benchmark, item, metric, value, size).

    Σ value / Σ size is the score. The size is 1 at prompt level, and the number of the prompt's
    instructions at instruction level.
    """
    rows = []
    for sample in samples:
        item = json.loads(sample["doc"]["record"])
        n_instructions = float(len(item["instruction_id_list"]))
        for metric in METRICS:
            size = n_instructions if metric.startswith("inst_level") else 1.0
            rows.append((name, str(item["id"]), metric, float(sample[metric]), size))
    return rows


BENCHMARKS = (
    Benchmark(
        name="ifeval_generated",
        asset=None,
        build=build,
        kind="generation",
        columns=("prompt", "instruction_id_list", "kwargs"),
        task=instruction_following_task,
        rows=instruction_following_rows,
        n_items=N_ITEMS,
        accuracy="prompt_level_strict",
        rendered=True,
    ),
)
