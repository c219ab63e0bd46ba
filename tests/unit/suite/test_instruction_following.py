"""Generated prompts: fixed, compatible, satisfiable; grading: lm-eval's, offline, never a crash."""

import hashlib
import itertools
import json
import logging
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.suite import instruction_following
from sft_tradeoff.suite.instruction_following import (
    INSTRUCTION_TYPES,
    METRICS,
    N_ITEMS,
    TOPICS,
    build,
    score,
)

ENGLISH = "the morning was calm and the old man walked slowly down to the harbor"
NAN = pytest.approx(math.nan, nan_ok=True)


@pytest.fixture(scope="module")
def items():
    return build()


@pytest.fixture(scope="module")
def registry():
    return instruction_following.ifeval_module().instructions_registry


def item_of(*instructions):
    """An item with the given (type, arguments)."""
    return {
        "id": "i",
        "key": 0,
        "prompt": "p",
        "instruction_id_list": [name for name, _ in instructions],
        "kwargs": [arguments for _, arguments in instructions],
    }


# --- checkers -----------------------------------------------------------------------------------

CASES = {
    # type: (arguments, a response that follows, one that does not even loosely)
    "keywords:existence": ({"keywords": ["rope", "nails"]}, "Nails hold the ROPE.", "Nails hold."),
    "keywords:frequency": (
        {"keyword": "rope", "frequency": 2, "relation": "at least"},
        "A rope is a rope.",
        "A rope is a string.",
    ),
    "keywords:forbidden_words": (
        {"forbidden_words": ["rope"]},
        "The ropes hold.",  # whole words only
        "The Rope holds.",
    ),
    "keywords:letter_frequency": (
        {"letter": "o", "let_frequency": 3, "let_relation": "less than"},
        "No, one",  # o, o: fewer than three
        "One good",  # O, o, o
    ),
    "language:response_language": (
        {"language": "fr"},
        "Le petit chat est revenu à la maison après une longue journée.",
        "The little cat came back home after a long day outside.",
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2},
        "One.\n***\nTwo.",
        "One.\n\nTwo.",
    ),
    "length_constraints:number_words": (
        {"num_words": 4, "relation": "at least"},
        "It's a cat",  # it, s, a, cat
        "Just a cat",
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "once"},
        "First.\n\nOnce, there was more.",
        "Once.\n\nThen.",
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2},
        "Dear [name], come to [address].",
        "Dear [name], come.",
    ),
    "detectable_content:postscript": (
        {"postscript_marker": "P.S."},
        "Goodbye.\nP.S. Bring tea.",
        "Goodbye. Bring tea.",
    ),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2},
        "Take:\n* tea\n* milk",
        "Take tea and milk",
    ),
    "detectable_format:constrained_response": ({}, "My answer is maybe.", "Perhaps."),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2},
        "A *good* day and a *long* one.",
        "A *good* day and a long one.",
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\nTea.\nSection 2\nMilk.",
        "Section 1\nTea and milk.",
    ),
    "detectable_format:json_format": ({}, '```json\n{"tea": 1}\n```', "tea: 1"),
    "detectable_format:title": ({}, "<<Tea>>\nA story.", "Tea\nA story."),
    "combination:two_responses": ({}, "Tea.\n******\nMilk.", "Tea."),
    "combination:repeat_prompt": (
        {"prompt_to_repeat": "Write about tea."},
        "Write about tea. Tea is hot.",
        "Tea is hot.",
    ),
    "startend:end_checker": (
        {"end_phrase": "What do you think?"},
        "Tea is hot. What do you think?",
        "What do you think? Tea is hot.",
    ),
    "change_case:english_capital": ({}, ENGLISH.upper(), ENGLISH),
    "change_case:english_lowercase": ({}, ENGLISH, ENGLISH.upper()),
    "punctuation:no_comma": ({}, "Tea and milk.", "Tea, milk."),
    "startend:quotation": ({}, '"Tea is hot."', "Tea is hot."),
}


def test_every_type_has_a_case(registry):
    """Of lm-eval's 25 types, two need nltk's data."""
    assert set(CASES) == set(INSTRUCTION_TYPES)
    assert set(registry.INSTRUCTION_DICT) - set(INSTRUCTION_TYPES) == {
        "length_constraints:number_sentences",
        "change_case:capital_word_frequency",
    }


@pytest.mark.parametrize("instruction", CASES)
def test_checker_by_hand(instruction):
    arguments, following, failing = CASES[instruction]
    item = item_of((instruction, arguments))
    assert score(item, following) == dict.fromkeys(METRICS, 1.0)
    assert score(item, failing) == dict.fromkeys(METRICS, 0.0)
    assert score(item, " \n") == dict.fromkeys(METRICS, 0.0)  # silence follows nothing


def test_levels_by_hand():
    """Strictly only the comma rule holds; without its first line the response is all quoted."""
    item = item_of(("startend:quotation", {}), ("punctuation:no_comma", {}))
    assert score(item, 'Sure! Here it is:\n"Tea is hot."') == {
        "prompt_level_strict": 0.0,
        "prompt_level_loose": 1.0,
        "inst_level_strict": 1.0,
        "inst_level_loose": 2.0,
    }


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80), index=st.integers(0, N_ITEMS - 1))
def test_any_text_gets_a_score(items, text, index):
    n = len(items[index]["instruction_id_list"])
    scores = score(items[index], text)
    for level, n_best in (("prompt_level", 1), ("inst_level", n)):
        assert 0 <= scores[f"{level}_strict"] <= scores[f"{level}_loose"] <= n_best
    assert scores["prompt_level_strict"] == float(scores["inst_level_strict"] == n)
    assert scores["prompt_level_loose"] == float(scores["inst_level_loose"] == n)


def test_broken_checker_is_nan_with_a_reason(caplog):
    """Python's JSON parser gives up on deep nesting with an error that the checker does not catch.

    Each level is NaN, although the other instruction was followed: neither passed nor failed.
    """
    item = item_of(("punctuation:no_comma", {}), ("detectable_format:json_format", {}))
    with caplog.at_level(logging.WARNING):
        assert score(item, "[" * 100_000) == dict.fromkeys(METRICS, NAN)
    assert "item i: the checker of detectable_format:json_format failed" in caplog.text
    assert "RecursionError" in caplog.text and "no_comma" not in caplog.text


def test_language_of_an_ambiguous_text_never_changes():
    """Unseeded, langdetect calls this text French in about one of three attempts."""
    item = item_of(("language:response_language", {"language": "fr"}))
    assert len({score(item, "bonjour amigo")["prompt_level_strict"] for _ in range(20)}) == 1


def test_text_without_a_language_is_not_copied_to_the_log(caplog):
    """lm-eval's rule: what cannot be told counts as followed."""
    item = item_of(("language:response_language", {"language": "it"}))
    assert score(item, "12345")["prompt_level_strict"] == 1
    assert "12345" not in caplog.text


# --- prompts ------------------------------------------------------------------------------------


def test_prompts_are_fixed_for_ever(items):
    """Another prompt would change every published score."""
    text = json.dumps(items, sort_keys=True).encode()
    assert hashlib.sha256(text).hexdigest()[:16] == "026a77ecb64944b8"


def test_prompts_do_not_depend_on_global_state(items):
    """lm-eval draws missing arguments from the global generator: nothing may be missing."""
    random.seed(5)
    state = random.getstate()
    assert build() == items
    assert random.getstate() == state


def test_items_have_the_schema_of_ifeval(items):
    assert len(items) == N_ITEMS
    assert len({i["id"] for i in items}) == len({i["prompt"] for i in items}) == N_ITEMS
    for index, item in enumerate(items):
        assert list(item) == ["id", "key", "prompt", "instruction_id_list", "kwargs"]
        assert item["key"] == index
        assert 1 <= len(item["instruction_id_list"]) == len(item["kwargs"]) <= 3


def test_every_type_and_topic_gets_its_share(items):
    used = [name for item in items for name in item["instruction_id_list"]]
    assert min(used.count(name) for name in INSTRUCTION_TYPES) >= N_ITEMS // len(INSTRUCTION_TYPES)
    assert len(TOPICS) >= 40
    for topic in TOPICS:
        assert sum(topic in item["prompt"] for item in items) >= N_ITEMS // len(TOPICS)
    assert {len(item["kwargs"]) for item in items} == {1, 2, 3}


def test_descriptions_are_those_of_the_stored_arguments(items, registry):
    for item in items:
        names, lines = item["instruction_id_list"], item["prompt"].split("\n", 1)[1]
        for name, arguments in zip(names, item["kwargs"], strict=True):
            checker = registry.INSTRUCTION_DICT[name](name)
            assert checker.build_description(**arguments) in lines
            assert (checker.get_instruction_args() or {}) == arguments


def test_no_prompt_pairs_what_lm_eval_calls_conflicting(items, registry):
    table = registry.conflict_make({k: set(v) for k, v in registry.INSTRUCTION_CONFLICTS.items()})
    for item in items:
        for a, b in itertools.combinations(item["instruction_id_list"], 2):
            assert b not in table[a] and a not in table[b]


def test_words_contain_no_other_and_nothing_special():
    """The checkers use keywords as regular expressions and look for them within words."""
    for topic, words in TOPICS.items():
        assert len(set(words)) == 6
        for word in words:
            assert word.isascii() and word.isalpha() and word.islower() and len(word) >= 4
            assert word not in topic
            assert not any(word in other for other in words if other != word)


def test_rare_letters_are_not_those_of_the_words():
    """A word required three times must not use up a letter allowed twice."""
    for words in TOPICS.values():
        draw = instruction_following._Draw(random.Random(0), words, iter(words))
        drawn = [instruction_following._letter_frequency(draw) for _ in range(40)]
        rare = {a["letter"] for a in drawn if a["let_relation"] == "less than"}
        assert rare and not rare & set("".join(words))


def test_requests_fit_their_constraints(items):
    """A closed answer belongs to a question; placeholders to texts that go out as forms."""
    for item in items:
        request = item["prompt"].split("\n")[0]
        is_question = request.startswith(("Would", "Should", "Could you listen"))
        closed = "detectable_format:constrained_response" in item["instruction_id_list"]
        assert is_question is closed
        if "detectable_content:number_placeholders" in item["instruction_id_list"]:
            assert any(
                form in request for form in ("email", "letter", "invitation", "flyer", "speech")
            )


BASE = {
    # No comma; 13 to 17 words that no topic requires or forbids; in English no j, k, q, v, x, z.
    None: "this is a small text about something good and calm that he and she wrote down",
    "es": "este es un texto corto que habla de la vida y de todas las cosas buenas",
    "fr": "voici un petit texte qui parle de la vie et de toutes les belles choses",
    "de": "dies ist ein kurzer Text der von dem Leben und den guten Dingen erzählt",
    "it": "questo è un breve testo che parla della vita e di tutte le cose belle",
    "pt": "este é um pequeno texto que fala da vida e de todas as coisas boas não é",
}


def write_response(item):
    """A dull response that does all that is asked, written from the arguments alone."""
    asked = dict(zip(item["instruction_id_list"], item["kwargs"], strict=True))
    a = {key: value for arguments in asked.values() for key, value in arguments.items()}
    if "detectable_format:constrained_response" in asked:
        return "My answer is yes."
    base = [BASE[a.get("language")]]
    if a.get("relation") == "at least" and "num_words" in a:
        base *= 1 + a["num_words"] // 12
    body = [*base, *a.get("keywords", [])]
    if a.get("keyword") and asked["keywords:frequency"]["relation"] == "at least":
        body += [a["keyword"]] * a["frequency"]
    if a.get("let_relation") == "at least":
        body += [a["letter"] * a["let_frequency"]]
    body += ["[name]"] * a.get("num_placeholders", 0) + ["*calm*"] * a.get("num_highlights", 0)
    text = " ".join(body)
    if "detectable_format:json_format" in asked:
        return json.dumps({"text": text})
    if "prompt_to_repeat" in a:
        return f"{a['prompt_to_repeat']} {text}"
    if "combination:two_responses" in asked:
        text = f"{text}\n******\n{text} {base[0]}"
    if "first_word" in a:
        parts = [f"{a['first_word']} and so on"] * a["num_paragraphs"]
        text = "\n\n".join(parts) + " " + text
    elif "num_paragraphs" in a:
        text = "\n***\n".join([text] + ["and so on"] * (a["num_paragraphs"] - 1))
    if "num_sections" in a:
        rest = range(2, a["num_sections"] + 1)
        text = f"{a['section_spliter']} 1\n{text}" + "".join(
            f"\n{a['section_spliter']} {n}\nand so on" for n in rest
        )
    text += "\n* and so on" * a.get("num_bullets", 0)
    if "detectable_format:title" in asked:
        text = f"<<calm>>\n{text}"
    if "postscript_marker" in a:
        text += f"\n{a['postscript_marker']} and so on"
    text += f"\n{a['end_phrase']}" if "end_phrase" in a else ""
    text = f'"{text}"' if "startend:quotation" in asked else text
    return text.upper() if "change_case:english_capital" in asked else text


def test_every_prompt_can_be_satisfied(items):
    """The proof that no prompt contradicts itself: a response that follows all of it, strictly."""
    for item in items:
        scores = score(item, write_response(item))
        n = len(item["kwargs"])
        assert list(scores.values()) == [1, 1, n, n], (item, write_response(item))
