"""The user's own file: what is accepted, how it is split, and its error messages."""

from __future__ import annotations

import json
import logging
import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.own.answers import score
from sft_tradeoff.domains.own.domain import generate
from sft_tradeoff.domains.own.read import MAX_LISTED
from sft_tradeoff.domains.registry import get_domain
from tests.unit.domains.own.files import GOOD, Line, problems_of, prompts, question, spec, write

# --- Reading ---------------------------------------------------------------------------------


def test_what_a_line_becomes(file: Path) -> None:
    write(
        file, [{"prompt": "2 + 2?", "response": " It is 4. \n", "other": 1}, *map(question, "abc")]
    )
    splits = generate(spec(file))
    example = next(e for split in splits.values() for e in split if e.prompt == "2 + 2?")
    assert example.response == " It is 4. \n" and example.answer == "It is 4."
    assert example.meta["line"] == 1 and example.meta["metric"] == "exact_match"
    assert [len(split) for split in splits.values()] == [2, 0, 2]
    assert splits["train"][1].id == "own-train-00001"


def test_answer_is_kept_and_numbers_are_texts(file: Path) -> None:
    lines = [{"prompt": f"{i} + 1?", "response": f"So {i + 1}", "answer": i + 1} for i in range(4)]
    splits = generate(spec(write(file, lines), metric="numeric"))
    assert {e.prompt: e.answer for e in splits["train"] + splits["test"]} == {
        "0 + 1?": "1",
        "1 + 1?": "2",
        "2 + 1?": "3",
        "3 + 1?": "4",
    }


def test_chat_messages(file: Path) -> None:
    user = {"role": "user", "content": "Hi?"}
    reply = {"role": "assistant", "content": "Hello."}
    system = {"role": "system", "content": "Be brief."}
    lines = [{"messages": [system, user, reply]}, {"messages": [user, reply]}, question(1)]
    splits = generate(spec(write(file, lines)))
    by_line = {e.meta["line"]: e for split in splits.values() for e in split}
    assert (by_line[1].system, by_line[1].prompt, by_line[1].response) == (
        "Be brief.",
        "Hi?",
        "Hello.",
    )
    assert by_line[1].to_dict()["system"] == "Be brief."
    assert by_line[2].prompt == "Hi?" and "system" not in by_line[2].to_dict()


def test_byte_order_mark_blank_lines_and_windows_line_ends(file: Path) -> None:
    rows = [json.dumps(question(i)) for i in range(3)]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(rows).encode())
    splits = generate(spec(file))
    assert sorted(e.meta["line"] for split in splits.values() for e in split) == [1, 3, 5]


# --- Problems --------------------------------------------------------------------------------

TWO_TURNS = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
AT_LEAST_THREE = "at least 3 are needed: one to train on and two to test on, as one has no interval"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"prompt": "a", }', "line 5: not valid JSON: "),
        (
            '{"prompt": "a',
            "line 5: not valid JSON: Unterminated string starting at character 12; correct or re",
        ),
        (
            '{"prompt": "a", "response": NaN}',
            "line 5: not valid JSON: NaN; correct or remove the example",
        ),
        ("[1, 2]", "line 5: expected a JSON object, got list; correct or remove the example"),
        ('"text"', "line 5: expected a JSON object, got text"),
        ({"response": "b"}, "line 5: 'prompt' is missing (keys: 'response'); add it, or remove"),
        ({"prompt": "a", "response": None}, "line 5: 'response' is null; add it, or remove the"),
        ({"prompt": "a"}, "line 5: 'response' is missing (keys: 'prompt')"),
        ({}, "line 5: 'prompt' is missing (keys: none)"),
        ({"prompt": " \n", "response": "b"}, "line 5: 'prompt' is empty"),
        ({"prompt": "a", "response": ""}, "line 5: 'response' is empty; correct or r"),
        ({"prompt": "a", "response": "b", "answer": " "}, "line 5: 'answer' is empty"),
        ({"prompt": ["a"], "response": "b"}, "line 5: 'prompt' must be a text, got list"),
        ({"prompt": "a", "response": True}, "line 5: 'response' must be a text, got boolean"),
        ('{"prompt": "\\ud800", "response": "b"}', "line 5: 'prompt' contains half of a surrogate"),
        (question(9, split="dev"), "line 5: split: 'dev' is unknown; use one of train, validat"),
        (
            question(9, split="test"),
            "lines 1, 2, 3, 4: 'split' is missing; give it on all lines or on none",
        ),
        (
            {"messages": TWO_TURNS[:1]},
            "line 5: 'messages' ends with the role 'user'; the last turn",
        ),
        (
            {"messages": TWO_TURNS[:3]},
            "line 5: 'messages' ends with the role 'user'; the last turn",
        ),
        (
            {"messages": TWO_TURNS[1:2]},
            "line 5: 'messages' begins with the assistant; remove its first turn, or the line",
        ),
        ({"messages": []}, "line 5: 'messages' must be a list of turns"),
        ({"messages": "hi"}, "line 5: 'messages' must be a list of turns"),
        ({"messages": [{"role": "user"}, TWO_TURNS[1]]}, "line 5: 'content' is missing"),
        ({"messages": TWO_TURNS[:2], "prompt": "a"}, "line 5: 'messages' does not begin with 'pr"),
        ("[" * 100_000, "line 5: not valid JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_line_is_named(file: Path, line: Line | str, problem: str) -> None:
    problems = problems_of(write(file, [*GOOD, line]))
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_all_problems_are_reported_together_in_order(file: Path) -> None:
    problems = problems_of(write(file, ["{", question(1), {"prompt": "a"}, question(2), "[]"]))
    starts = [problem.split(":")[0] for problem in problems[:3]]
    assert [*starts, *problems[3:]] == [
        "line 1",
        "line 3",
        "line 5",
        f"usable examples: 2; {AT_LEAST_THREE}",
    ]


def test_twenty_problems_are_listed_and_the_rest_counted(file: Path) -> None:
    bad = [question(0, split=f"part {i}") for i in range(27)]
    problems = problems_of(write(file, [*GOOD, *bad]))
    assert len(problems) == MAX_LISTED + 1 == 21
    assert problems[-1].startswith("and ") and problems[-1].endswith(" more")


def test_one_problem_is_reported_once(file: Path) -> None:
    bad = ["{", {"prompt": "a"}, "{}x", "nothing", {"prompt": "b"}]
    assert problems_of(write(file, [*GOOD, *bad])) == [
        "lines 5, 7, 8: not valid JSON: Expecting property name enclosed in double quotes at "
        "character 2 (on line 5); correct or remove the lines",
        "lines 6, 9: 'response' is missing (keys: 'prompt'); add it, or remove the example",
    ]


def test_same_prompt_in_two_splits(file: Path) -> None:
    lines = [question(i, split="train") for i in range(3)]
    lines += [{"prompt": " question  1? ", "response": "x", "split": "test"}]
    assert problems_of(write(file, lines)) == [
        "line 4: same prompt in test as in train (line 4: as line 2); keep each prompt in one split"
    ]


def test_same_prompt_in_another_normal_form_or_under_another_system_text(file: Path) -> None:
    lines = [{"prompt": f"Cafe\u0301 {i}?", "response": "x", "split": "train"} for i in range(3)]
    asked = [question(i, split="test") for i in range(2)]
    composed = {"prompt": "Café 1?", "response": "x", "split": "test"}
    assert problems_of(write(file, [*lines, *asked, composed])) == [
        "line 6: same prompt in test as in train (line 6: as line 2); keep each prompt in one split"
    ]
    write(file, [*lines, *asked, composed | {"system": "Be brief."}])
    assert len(generate(spec(file, n_test=9))["test"]) == 3


def test_a_single_test_item_is_refused(file: Path) -> None:
    write(file, [question(i) for i in range(9)])
    reason = "test on at least 2 different prompts, as one has no interval"
    assert problems_of(file, n_test=1) == [f"n_test: 1 is too small; {reason}"]
    lines = [question(i, split="train") for i in range(5)] + [question(9, split="test")] * 2
    assert problems_of(write(file, lines)) == [
        f"the lines with 'split': 'test' have 1 different prompt; {reason}"
    ]


def test_no_usable_example_is_no_second_problem(file: Path) -> None:
    problems = problems_of(write(file, [{"prompt": "a", "response": ""}] * 4))
    assert problems == ["lines 1, 2, 3, 4: 'response' is empty; correct or remove the example"]


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_examples(file: Path, n: int) -> None:
    problems = problems_of(write(file, GOOD[:n]))
    assert problems == [f"usable examples: {n}; {AT_LEAST_THREE}"]


def test_too_few_for_the_sizes(file: Path) -> None:
    write(file, [*GOOD, question(0)])  # five lines, four prompts
    assert problems_of(file, n_test=3, n_validation=1) == [
        "4 different prompts, but n_test 3 + n_validation 1 + at least 1 to train on need 5; "
        "lower n_test or n_validation"
    ]
    assert generate(spec(file, n_test=2, n_validation=1))["train"]


def test_splits_that_are_given_must_not_be_empty(file: Path) -> None:
    write(file, [question(0, split="test"), *(question(i, split="train") for i in range(1, 5))])
    assert problems_of(file, n_validation=2) == [
        "no line has 'split': 'validation'; add it to some lines, set n_validation: 0, or remove "
        "'split' from all lines to have them divided",
    ]
    write(file, [question(i, split="validation") for i in range(5)])
    assert problems_of(file) == [
        "no line has 'split': 'train'; add it to some lines, or remove 'split' from all lines to "
        "have them divided",
        "no line has 'split': 'test'; add it to some lines, or remove 'split' from all lines to "
        "have them divided",
    ]


def test_lines_that_are_all_for_training_are_divided(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a folder with only train.jsonl: many public files mark themselves so."""
    caplog.set_level(logging.INFO, "sft_tradeoff")
    write(file, [question(i) for i in range(9)])
    unmarked = {split: prompts(lines) for split, lines in generate(spec(file)).items()}
    write(file, [question(i, split="train") for i in range(9)])
    marked = {split: prompts(lines) for split, lines in generate(spec(file)).items()}
    assert marked == unmarked
    assert "all lines have 'split': 'train': they are divided, as if without it" in caplog.text


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path: cannot read .*: No such file.*; give a data file"):
        generate(spec(tmp_path / "none.jsonl"))


# --- Splitting -------------------------------------------------------------------------------


def test_sizes_are_met_and_surplus_is_left_out(file: Path) -> None:
    write(file, [question(i) for i in range(50)])
    splits = generate(spec(file, n_train=20, n_validation=5, n_test=10))
    assert [len(split) for split in splits.values()] == [20, 5, 10]
    assert len(set.union(*map(prompts, splits.values()))) == 35


def test_given_splits_are_used_and_limited(file: Path) -> None:
    names = ["train"] * 6 + ["validation"] * 3 + ["test"] * 4
    write(file, [question(i, split=name) for i, name in enumerate(names)])
    splits = generate(spec(file, n_train=5, n_validation=9, n_test=2))
    assert [len(split) for split in splits.values()] == [5, 3, 2]
    for name, examples in splits.items():
        assert all(names[example.meta["line"] - 1] == name for example in examples)


def test_the_order_of_lines_and_n_train_do_not_matter(file: Path, tmp_path: Path) -> None:
    lines = [question(i) for i in range(30)]
    write(file, lines)
    shuffled = write(tmp_path / "other.jsonl", random.Random(0).sample(lines, 30))
    sizes = {"n_validation": 4, "n_test": 6}
    full, again = generate(spec(file, **sizes)), generate(spec(shuffled, **sizes))
    few = generate(spec(file, n_train=3, **sizes))
    for split in ("train", "validation", "test"):
        assert [e.prompt for e in full[split]] == [e.prompt for e in again[split]]
    assert few["test"] == full["test"] and few["train"] == full["train"][:3]
    assert generate(spec(file, seed=1, **sizes))["test"] != full["test"]


@given(
    copies=st.lists(st.integers(1, 4), min_size=10, max_size=25),
    seed=st.integers(0, 1000),
    n_test=st.integers(2, 5),
    n_validation=st.integers(0, 4),
)
def test_copies_of_a_prompt_never_straddle_splits(
    tmp_path_factory: pytest.TempPathFactory,
    copies: list[int],
    seed: int,
    n_test: int,
    n_validation: int,
) -> None:
    rows = [
        {"prompt": f"What  is {i}?" if k % 2 else f" what is {i}? ", "response": f"{k}"}
        for i, count in enumerate(copies)
        for k in range(count)
    ]
    file = write(tmp_path_factory.mktemp("copies") / "data.jsonl", rows)
    splits = generate(spec(file, seed=seed, n_test=n_test, n_validation=n_validation))
    train, validation, test = (prompts(splits[name]) for name in ("train", "validation", "test"))
    assert not train & test and not train & validation and not validation & test
    assert len(splits["test"]) == n_test and len(splits["validation"]) == n_validation
    assert splits["train"]


@pytest.mark.parametrize(
    ("settings", "grading"),
    [
        ({"metric": "numeric", "tolerance": 0.05}, "numeric, relative tolerance 0.05: not exact"),
        ({"metric": "numeric"}, "numeric, exact to the digits of the gold answer"),
        ({}, "exact_match"),
    ],
)
def test_the_card_says_how_answers_are_graded(
    file: Path, tmp_path: Path, settings: Line, grading: str
) -> None:
    write(file, [question(i, response=str(10**i)) for i in range(4)])
    write_domain(spec(file, **settings), tmp_path / "out")
    assert f"- **Grading:** {grading}\n" in (tmp_path / "out/card.md").read_text()


def test_the_time_of_checks_grows_with_the_lines(tmp_path: Path) -> None:
    """Eight times as many lines: 64 times the time if it were quadratic."""

    def seconds(n: int) -> float:
        lines = [question(i, response=str(i % 40)) for i in range(n)]
        file = write(tmp_path / f"{n}.jsonl", lines)
        start = time.process_time()
        for metric in ("exact_match", "numeric", "choice"):
            assert generate(spec(file, metric=metric))
        return time.process_time() - start

    assert seconds(8000) < 24 * seconds(1000)


def test_domain_is_found_by_name() -> None:
    domain = get_domain("own")
    assert set(domain.max_new_tokens) == {"response"}
    assert domain.generate is generate and domain.score is score
