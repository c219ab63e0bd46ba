"""Grade-school word problems with worked solutions, from the templates of ``reasoning-gym``.

The paper trains on MetaMathQA; this offline substitute has the style of GSM8K (``#### number`` at
the end). Of the package's 100 templates, its source marks :data:`FLAGGED` as needing a fix, and we
rejected :data:`REJECTED`. The others are divided once: :data:`TEST_ONLY` never appear in training,
so half of the test has new numbers in a known template (``meta.template_seen`` true) and half has a
new template (false).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from sft_tradeoff.domains.base import SPLITS, Domain, Example, Score
from sft_tradeoff.domains.math.grading import read_number
from sft_tradeoff.grading.numbers import format_float

if TYPE_CHECKING:
    from sft_tradeoff.domains.math.spec import MathSpec

Template = Callable[[random.Random, float], dict[str, Any]]

MAX_DRAWS = 1000
TOLERANCE = Fraction(1, 10**6)

# Marked in reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic (`tasks_need_fix`).
FLAGGED = frozenset({32, 35, 37, 61, 63, 65, 74, 76, 77, 79, 86, 87, 90, 97, 98})
REJECTED = {
    2: "fractions of students are cut off: 0.26 * 40 = 10",
    3: "fractions of hours are cut off: 1188 / 60 = 19",
    4: "fractions of trays are cut off: 104 / 16 = 6",
    5: "a winter or spring break that lasts until the end of the summer",
    6: "'4 times the number of boys' where 4 times as many boys as girls is meant",
    10: "sisters and cousins about 50 years apart",
    11: "ungrammatical: '3 times as much grape as banana'",
    14: "a word is missing: 'exercise for 3 the amount of time'",
    15: "currencies are mixed: '£60 / 2 = $30'",
    20: "ungrammatical: 'places cookies on the basket'",
    24: "negative ages",
    25: "ungrammatical: '4 of a serving'",
    27: "answers that are not whole, and a reference to a 'third one' of many",
    28: "ungrammatical: 'uses 3 kilogram of rice'",
    29: "a dog with a thousand puppies",
    31: "ungrammatical: 'ate 3 slice'",
    33: "customers turn into orders",
    40: "fractions of cards are cut off: 58 / 100 * 50 = 28",
    46: "proportions written as 0.6666666666666666",
    47: "prices written as $17.5",
    49: "contradictory: money that is spent and left over",
    51: "a word is missing: 'ride the go-karts 3'",
    52: "a word is missing: 'writes it in full 2', and 0.3333333333333333 of an alphabet",
    54: "an article is missing: 'walk to cinema'",
    60: "division without brackets: 15÷1/2 = 30",
    66: "hours written as 25.916666666666664",
    70: "the solution uses a factor that the question does not give",
    73: "ungrammatical: 'selling cupcake and peach pie'",
    75: "fractions of tubes are cut off: 7 * 0.5 = 3",
    81: "five working weeks in every month",
    82: "an empty step: '30=30 emails'",
    85: "an empty step: '1 meters / 1 meters'",
    89: "ungrammatical: 'finds 0.5 as many'",
    92: "a vegetable stand that sells daisies",
    93: "ungrammatical: 'slew 4 as many trolls'",
    99: "fractions of the answer are cut off: 8.04 - 7.04 = 0 and the like",
}
TEST_ONLY = frozenset({9, 18, 30, 41, 48, 58, 67, 78, 88, 95})
TRAINED = tuple(sorted({*range(100)} - FLAGGED - REJECTED.keys() - TEST_ONLY))

_INSTRUCTION = {
    "cot": 'Reason step by step and finish with the answer as "#### number".',
    "label_only": 'Give only the answer, as "#### number".',
}
_CORRECTIONS: tuple[tuple[str, str], ...] = (
    (r"(?<=\d)\.0(?!\d)", ""),
    (r"\b([Aa])n? (?=[aeiou8]|1[18]\b)", r"\1n "),
    (r"\b([Aa])n (?=[b-dfgj-np-tv-z])", r"\1 "),
    (r"\bpeachs\b", "peaches"),
    (r"\bA bacteria\b", "A bacterium"),
    (r"\bpotted plant from\b", "potted plants from"),
    (r"\btwins found, ", "twins found "),
    (r"\bNeptunes\b", "Neptune's"),
)
_SENTENCE_START = re.compile(r"(?:^|[.?!]\s)[a-z](?=[a-z])", re.MULTILINE)
_NUMBER = re.compile(r"\d[\d.,]*")
_BAD_SINGULAR = re.compile(r"(?<![\d.,/])1 [a-z]+s\b")


def _templates() -> dict[int, Template]:
    """Load the generators lazily, because importing the package takes more than a second."""
    from reasoning_gym.arithmetic.gsm_symbolic import generators_00_49, generators_50_99

    return {
        number: getattr(generators_00_49 if number < 50 else generators_50_99, f"generate_{number}")
        for number in (*TRAINED, *TEST_ONLY)
    }


def _clean(text: str) -> str:
    """Correct small mistakes in filled-in templates, such as ``24.0`` and ``a apartment``."""
    for pattern, replacement in _CORRECTIONS:
        text = re.sub(pattern, replacement, text)
    text = _SENTENCE_START.sub(lambda match: match[0].upper(), text)
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _draw_problem(template: Template, rng: random.Random) -> tuple[str, str, str] | None:
    """Draw question, reasoning and answer; None for a malformed one, such as "1 cookies"."""
    problem = template(rng, 1.0)
    value = float(problem["answer"])
    question = _clean(problem["question"])
    reasoning = _clean(problem["metadata"]["answer_cot"].rsplit("####", 1)[0])
    if value < 0 or value != int(value) or _BAD_SINGULAR.search(f"{question}\n{reasoning}"):
        return None
    return question, reasoning, str(int(value))


def _example(number: int, problem: tuple[str, str, str], variant: str, identifier: str) -> Example:
    question, reasoning, answer = problem
    response = f"#### {answer}"
    return Example(
        id=identifier,
        prompt=f"{question}\n{_INSTRUCTION[variant]}",
        response=f"{reasoning}\n{response}" if variant == "cot" else response,
        answer=answer,
        meta={
            "template": number,
            "template_seen": number not in TEST_ONLY,
            "question": question,
            "numbers": _NUMBER.findall(question),
        },
    )


def _signature(example: Example) -> tuple[Any, ...]:
    """Template and numbers; other names with the same numbers do not make a new problem."""
    return (example.meta["template"], *example.meta["numbers"])


def _draw_split(
    spec: MathSpec, split: str, templates: Mapping[int, Template], elsewhere: set[tuple[Any, ...]]
) -> list[Example]:
    rng = random.Random(f"math-{spec.seed}-{split}")
    n_examples = getattr(spec, f"n_{split}")
    pools = (TRAINED, sorted(TEST_ONLY)) if split == "test" else (TRAINED,)
    examples: dict[str, Example] = {}
    for index in range(n_examples):
        for _ in range(MAX_DRAWS):
            number = rng.choice(pools[index % len(pools)])
            problem = _draw_problem(templates[number], rng)
            if problem is None:
                continue
            example = _example(number, problem, spec.variant, f"math-{split}-{index:05d}")
            if example.prompt not in examples and _signature(example) not in elsewhere:
                break
        else:
            raise ValueError(
                f"n_{split}: {n_examples} problems requested, but the templates gave only {index} "
                f"distinct ones; use n_{split} <= {index}"
            )
        examples[example.prompt] = example
    return list(examples.values())


def generate(spec: MathSpec) -> dict[str, list[Example]]:
    """Build the splits; no template has the same numbers in two splits.

    Test comes first and training last, each from its own random stream, so a larger training split
    leaves the others unchanged. Half of the test comes from templates held out of training.

    Args:
        spec: Variant, sizes and seed.

    Returns:
        Split name -> examples.

    Raises:
        ValueError: If the templates cannot give that many distinct problems.
    """
    templates = _templates()
    splits: dict[str, list[Example]] = {}
    taken: set[tuple[Any, ...]] = set()
    for split in reversed(SPLITS):
        splits[split] = _draw_split(spec, split, templates, taken)
        taken.update(map(_signature, splits[split]))
    return {split: splits[split] for split in SPLITS}


def score(record: Mapping[str, Any], generation: str) -> Score:
    """Grade the number after ``####``; units and thousands separators are ignored.

    Args:
        record: JSONL record of an example, with its gold number under ``answer``.
        generation: What the model wrote.

    Returns:
        The grade; ``parsed`` is None if there is no number.
    """
    marked = [piece.split("\n", 1)[0] for piece in generation.split("####")[1:]]
    value = read_number(marked, generation)
    if value is None:
        return Score(correct=False, parsed=None)
    correct = abs(value - Fraction(record["answer"])) <= TOLERANCE
    return Score(correct=correct, parsed=format_float(value))


def cluster(record: Mapping[str, Any]) -> str:
    """The template: its problems differ in names and numbers only."""
    return f"template-{record['meta']['template']}"


DOMAIN = Domain(
    description=(
        "Synthetic word problems in the style of GSM8K, filled in from templates of reasoning-gym, "
        f"with worked solutions that end with '#### number'. {len(TRAINED)} templates serve all "
        f"splits, {len(TEST_ONLY)} more only every second test problem (meta.template_seen false). "
        "Answers are natural numbers; an answer is right if it equals the number."
    ),
    source=(
        "synthetic: reasoning-gym 0.1.25, reasoning_gym.arithmetic.gsm_symbolic, without the "
        f"{len(FLAGGED)} templates that it marks as needing a fix and {len(REJECTED)} others"
    ),
    license="Apache-2.0",
    generate=generate,
    score=score,
    max_new_tokens={"cot": 320, "label_only": 16},
    unit="template",
    cluster=cluster,
)
