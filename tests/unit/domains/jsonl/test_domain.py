"""The user's own file: what is accepted, how it is split, graded, and what its problems say."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.jsonl.answers import MAX_LABELS, score
from sft_tradeoff.domains.jsonl.domain import MAX_LISTED, generate
from sft_tradeoff.domains.registry import get_domain
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.grading.text import final_answer, normalize

Line = dict[str, Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data.jsonl"


def write(file: Path, lines: Sequence[Line | str]) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return file


def spec(file: Path, **settings: Any) -> DomainSpec:
    sizes = {"n_train": 100, "n_validation": 0, "n_test": 2}
    return DomainSpec.model_validate({"name": "jsonl", "path": str(file), **sizes, **settings})


def question(number: int, **keys: Any) -> Line:
    return {"prompt": f"Question {number}?", "response": f"Reply {number}", **keys}


def problems_of(file: Path, **settings: Any) -> list[str]:
    with pytest.raises(ValueError) as error:
        generate(spec(file, **settings))
    head, *problems = str(error.value).split("\n")
    assert str(file) in head
    return [problem.strip() for problem in problems]


def prompts(examples: Sequence[Example]) -> set[str]:
    return {normalize(example.prompt) for example in examples}


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
    assert splits["train"][1].id == "jsonl-train-00001"


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
GOOD = [question(i) for i in range(4)]
AT_LEAST_THREE = (
    "at least 3 are needed: one to train on, and two to test on, as one alone has no interval"
)


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
            "line 5: not valid JSON: NaN; correct or remove the line",
        ),
        ("[1, 2]", "line 5: expected a JSON object, got list; correct or remove the line"),
        ('"text"', "line 5: expected a JSON object, got text"),
        ({"response": "b"}, "line 5: 'prompt' is missing (keys: 'response'); add it, or use"),
        ({"prompt": "a"}, "line 5: 'response' is missing (keys: 'prompt')"),
        ({}, "line 5: 'prompt' is missing (keys: none)"),
        ({"prompt": " \n", "response": "b"}, "line 5: 'prompt' is empty"),
        ({"prompt": "a", "response": ""}, "line 5: 'response' is empty; correct or r"),
        ({"prompt": "a", "response": "b", "answer": " "}, "line 5: 'answer' is empty"),
        ({"prompt": ["a"], "response": "b"}, "line 5: 'prompt' must be a text, got list"),
        ({"prompt": "a", "response": True}, "line 5: 'response' must be a text, got boolean"),
        ('{"prompt": "\\ud800", "response": "b"}', "line 5: 'prompt' holds half of a surrogate"),
        (question(9, split="dev"), "line 5: split: 'dev' is unknown; use one of train, validat"),
        (question(9, split="test"), "line 1: 'split' is missing; give it on all lines or on none"),
        ({"messages": TWO_TURNS}, "line 5: 'messages' has the roles 'user', 'assistant', 'user'"),
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
            "line 5: 'messages' has the roles 'assistant'; only [system",
        ),
        ({"messages": []}, "line 5: 'messages' must be a list of objects"),
        ({"messages": "hi"}, "line 5: 'messages' must be a list of objects"),
        ({"messages": [{"role": "user"}, TWO_TURNS[1]]}, "line 5: 'content' is missing"),
        ({"messages": TWO_TURNS[:2], "prompt": "a"}, "line 5: give either 'messages' or 'prompt'"),
        ("[" * 100_000, "line 5: not valid JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_line_is_named(file: Path, line: Line | str, problem: str) -> None:
    problems = problems_of(write(file, [*GOOD, line]))
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_not_utf_8(file: Path) -> None:
    good = "\n".join(map(json.dumps, GOOD)).encode()
    file.write_bytes(good + '\n{"prompt": "é", "response": "b"}'.encode("latin-1"))
    advice = (
        "if it is Western European (Windows-1252, Latin-1), convert it with iconv -f CP1252 -t "
        f"UTF-8 {file} > {file.with_name('data-2.jsonl')}"
    )
    assert problems_of(file) == [f"line 5: not UTF-8 at byte 12; {advice}"]
    latin = [f'{{"prompt": "é{i}", "response": "b"}}'.encode("latin-1") for i in range(30)]
    file.write_bytes(b"\n".join([*latin, good, latin[0]]))
    assert problems_of(file) == [f"line 1: not UTF-8 at byte 12 (and 30 more lines); {advice}"]


def test_the_advice_for_windows_1252_gives_back_the_text(tmp_path: Path) -> None:
    """Latin-1 would make control characters of typographic quotes."""
    text = "\n".join(f'{{"prompt": "it’s {i}", "response": "“yes” for 5 €"}}' for i in range(5))
    file = tmp_path / "d.jsonl"
    file.write_bytes(text.encode("cp1252"))
    (problem,) = problems_of(file)
    command = problem[problem.index("iconv") :]
    subprocess.run(command, shell=True, check=True)
    assert (tmp_path / "d-2.jsonl").read_text(encoding="utf-8") == text
    assert generate(spec(tmp_path / "d-2.jsonl"))["test"][0].response == "“yes” for 5 €"


def test_files_of_two_encodings_are_not_converted_as_one(file: Path) -> None:
    rows = [f'{{"prompt": "é{i}", "response": "b"}}' for i in range(3)]
    file.write_bytes(b"\n".join([rows[0].encode(), rows[1].encode("latin-1"), rows[2].encode()]))
    (problem,) = problems_of(file)
    assert problem.startswith("line 2: not UTF-8 at byte 12; other lines are UTF-8, so convert non")
    assert "iconv" not in problem


def test_an_encoding_that_is_not_windows_1252(file: Path) -> None:
    """0x81 begins half of Shift-JIS's characters and is none of Windows-1252's."""
    file.write_bytes('{"prompt": "「。」", "response": "b"}'.encode("shift-jis"))
    (problem,) = problems_of(file)
    assert "find out its encoding (not Windows-1252, which has no such bytes)" in problem


def test_all_problems_are_reported_together_in_order(file: Path) -> None:
    problems = problems_of(write(file, ["{", question(1), {"prompt": "a"}, question(2), "[]"]))
    starts = [problem.split(":")[0] for problem in problems[:3]]
    assert [*starts, *problems[3:]] == [
        "line 1",
        "line 3",
        "line 5",
        f"2 usable examples; {AT_LEAST_THREE}",
    ]


def test_twenty_problems_are_listed_and_the_rest_counted(file: Path) -> None:
    problems = problems_of(write(file, [*GOOD, *["{"] * 27]))
    assert len(problems) == MAX_LISTED + 1 == 21
    assert problems[-1] == "and 7 more"
    assert len(problems_of(write(file, [*GOOD, *["{"] * 20]))) == 20


def test_same_prompt_in_two_splits(file: Path) -> None:
    lines = [question(i, split="train") for i in range(3)]
    lines += [{"prompt": " question  1? ", "response": "x", "split": "test"}]
    assert problems_of(write(file, lines)) == [
        "line 4: same prompt in test as on line 2 in train; keep it in one split"
    ]


def test_same_prompt_in_another_normal_form_or_under_another_system_text(file: Path) -> None:
    lines = [{"prompt": f"Cafe\u0301 {i}?", "response": "x", "split": "train"} for i in range(3)]
    asked = [question(i, split="test") for i in range(2)]
    composed = {"prompt": "Café 1?", "response": "x", "split": "test"}
    assert problems_of(write(file, [*lines, *asked, composed])) == [
        "line 6: same prompt in test as on line 2 in train; keep it in one split"
    ]
    write(file, [*lines, *asked, composed | {"system": "Be brief."}])
    assert len(generate(spec(file, n_test=9))["test"]) == 3


def test_a_single_test_item_is_refused(file: Path) -> None:
    write(file, [question(i) for i in range(9)])
    reason = "test on at least 2 different prompts, as a single one has no interval"
    assert problems_of(file, n_test=1) == [f"n_test: 1 is too small; {reason}"]
    lines = [question(i, split="train") for i in range(5)] + [question(9, split="test")] * 2
    assert problems_of(write(file, lines)) == [
        f"the lines with 'split': 'test' have 1 different prompt; {reason}"
    ]


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_examples(file: Path, n: int) -> None:
    problems = problems_of(write(file, GOOD[:n]))
    assert problems == [f"{n} usable examples; {AT_LEAST_THREE}"]


def test_too_few_for_the_sizes(file: Path) -> None:
    write(file, [*GOOD, question(0)])  # five lines, four prompts
    assert problems_of(file, n_test=3, n_validation=1) == [
        "4 different prompts, but n_test 3 + n_validation 1 + at least 1 to train on need 5; "
        "lower n_test or n_validation"
    ]
    assert generate(spec(file, n_test=2, n_validation=1))["train"]


def test_splits_that_are_given_must_not_be_empty(file: Path) -> None:
    write(file, [question(i, split="train") for i in range(5)])
    assert problems_of(file, n_validation=2) == [
        "no line has 'split': 'validation'; mark some lines so, set n_validation: 0, or remove "
        "'split' from all lines to have them divided",
        "no line has 'split': 'test'; mark some lines so, or remove 'split' from all lines to have "
        "them divided",
    ]


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(ValueError, match=r"path: cannot read .*: (No such file|Is a dir).*;"):
            generate(spec(path))


TEXT = "\n".join(map(json.dumps, GOOD))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty; write one JSON object per line"),
        (b" \r\n\n", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (TEXT.encode("utf-16"), "the encoding is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"),
        (TEXT.encode("utf-32"), "the encoding is UTF-32; convert"),
        (TEXT.encode("utf-16-le"), "line 1: a zero byte; the file is UTF-16 or damaged"),
        (TEXT.encode() + b"\n\n\x00\x00", "line 6: a zero byte"),
        (gzip.compress(TEXT.encode(), mtime=0), "it is compressed with gzip; unpack"),
        (b"PK\x03\x04rest", "it is a zip archive or a spreadsheet"),
        (b"PAR1rest", "it is Parquet; convert it with pandas: read_parquet('"),
        (
            json.dumps(GOOD).encode(),
            "it is one JSON value, not one object per line; convert a list",
        ),
        (json.dumps(GOOD, indent=1).encode(), "it is one JSON value, not one object per line"),
        (json.dumps(GOOD[0], indent=1).encode(), "it is one JSON value, not one object per line"),
        (b"prompt,response\na,b\n", "line 1: 'prompt,response' looks like CSV; convert it, e.g. w"),
        (b'"prompt";"response"\n"a";"b"\n', 'line 1: \'"prompt";"response"\' looks like CSV'),
        (b"prompt\tresponse\r\na\tb\r\n", "line 1: 'prompt\\tresponse' looks like CSV"),
        (b"Just some text.\n", "no line is a JSON object; line 1 is 'Just some text.'"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_file_of_another_kind_is_one_problem(file: Path, content: bytes, problem: str) -> None:
    file.write_bytes(content)
    problems = problems_of(file)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_the_advice_for_csv_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the message says to type, typed; commas and line breaks within a cell survive."""
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"prompt": ["a, b", "c\nd", "e"], "response": ["19.90", "None", '"x"']})
    table.to_csv("my.csv", index=False)
    (problem,) = problems_of(Path("my.csv"))
    advice = (
        "pd.read_csv('my.csv', dtype=str, keep_default_na=False).to_json('my.jsonl', orient='re"
    )
    assert f"pd.{problem[problem.index('read_csv') :]}".startswith(advice)
    eval(f"pd.{problem[problem.index('read_csv') :]}")
    splits = generate(spec(tmp_path / "my.jsonl"))
    found = {e.prompt: e.response for split in splits.values() for e in split}
    assert found == dict(zip(table["prompt"], table["response"], strict=True))


OTHER_KINDS = {
    "list": json.dumps(GOOD).encode(),
    "csv": b"prompt,response\na,b\n",
    "utf-16": TEXT.encode("utf-16"),
    "latin-1": '{"prompt": "é", "response": "b"}'.encode("latin-1"),
    "gzip": gzip.compress(TEXT.encode(), mtime=0),
    "parquet": b"PAR1rest",
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("name", ["my data.jsonl", "my data.json"])
def test_a_conversion_overwrites_nothing(tmp_path: Path, kind: str, name: str) -> None:
    """A shell empties the output before the input is read; `my data.jsonl` is there either way."""
    (tmp_path / "my data.jsonl").write_bytes(TEXT.encode())
    file = tmp_path / name
    file.write_bytes(OTHER_KINDS[kind])
    (problem,) = problems_of(file)
    assert str(file) in problem and f"'{tmp_path / 'my data-2.jsonl'}'" in problem
    assert "> my" not in problem and f"> '{file}'" not in problem
    (tmp_path / "my data-2.jsonl").touch()
    assert f"'{tmp_path / 'my data-3.jsonl'}'" in problems_of(file)[0]


@pytest.mark.parametrize(("kind", "first"), [("gzip", "gunzip"), ("utf-16", "iconv")])
def test_the_advice_for_other_encodings_works(tmp_path: Path, kind: str, first: str) -> None:
    file = tmp_path / "my data.jsonl"
    file.write_bytes(OTHER_KINDS[kind])
    (problem,) = problems_of(file)
    subprocess.run(problem[problem.index(first) :], shell=True, check=True)
    assert file.read_bytes() == OTHER_KINDS[kind]
    assert (tmp_path / "my data-2.jsonl").read_bytes() == TEXT.encode()


def test_a_broken_first_line_does_not_make_another_kind(file: Path) -> None:
    """Line 1 could be CSV, line 2 is a list: two bad lines of a JSONL file all the same."""
    problems = problems_of(write(file, ["prompt, response", "[1, 2]", *GOOD]))
    assert [problem[:23] for problem in problems] == [
        "line 1: not valid JSON:",
        "line 2: expected a JSON",
    ]


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        ("exact_match", "answer 'B', read 'the answer is b')"),
        ("choice", "answer 'C', read 'B')"),
    ],
)
def test_a_metric_that_fails_the_own_response_is_a_problem(
    file: Path, metric: str, problem: str
) -> None:
    answer = "C" if metric == "choice" else "B"
    lines = [question(i, response="The answer is B", answer=answer) for i in range(3)]
    problems = problems_of(write(file, [*lines, question(4, response="B")]), metric=metric)
    assert len(problems) == 3
    assert problems[1].startswith(f"line 2: metric '{metric}' would grade the line's own response")
    assert problem in problems[1]
    assert problems[1].endswith("; change the metric or the answer, or remove the line")


def test_a_label_within_the_response_is_a_choice(file: Path) -> None:
    lines = [question(i, response=f"The answer is {x}", answer=x) for i, x in enumerate("BBBA")]
    assert generate(spec(write(file, lines), metric="choice"))


def test_choice_needs_a_closed_set(file: Path) -> None:
    write(file, [question(i) for i in range(MAX_LABELS + 1)])
    (problem,) = problems_of(file, metric="choice")
    assert problem.startswith("metric 'choice' needs at most 50 different answers, the file has 51")


def test_one_label_is_no_choice(file: Path) -> None:
    lines = [question(i, response="yes") for i in range(6)]
    assert problems_of(write(file, lines), metric="choice") == [
        "metric 'choice' needs at least 2 different answers, the file has 1 ('yes'): naming it "
        "would always be right"
    ]


def test_labels_that_count_as_the_same(file: Path) -> None:
    """Another case, another normal form: each would count as right for the other."""
    labels = ["yes", "no", "Yes", "no", "cafe\u0301", "café"]
    lines = [question(i, response=label) for i, label in enumerate(labels)]
    problems = problems_of(write(file, lines), metric="choice")
    assert problems[:2] == [
        "line 1: the answer 'yes' counts as 'Yes' of line 3; write both alike",
        "line 6: the answer 'café' counts as 'cafe\u0301' of line 5; write both alike",
    ]


# --- Splitting -------------------------------------------------------------------------------


def test_sizes_are_met_and_surplus_is_left_out(file: Path) -> None:
    write(file, [question(i) for i in range(50)])
    splits = generate(spec(file, n_train=20, n_validation=5, n_test=10))
    assert [len(split) for split in splits.values()] == [20, 5, 10]
    assert len(set.union(*map(prompts, splits.values()))) == 35


def test_given_splits_are_obeyed_and_cut(file: Path) -> None:
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


# --- Grading ---------------------------------------------------------------------------------


def line(answer: str, metric: str, tolerance: float = 0.05, labels: Sequence[str] = ()) -> Line:
    return {
        "answer": answer,
        "meta": {"metric": metric, "tolerance": tolerance, "labels": list(labels)},
    }


@pytest.mark.parametrize(
    ("text", "correct", "parsed"),
    [
        ("New York", True, "new york"),
        ("  new\n YORK ", True, "new york"),
        ("New York.", False, "new york."),
        ("York", False, "york"),
        (" \n", False, None),
    ],
)
def test_exact_match(text: str, correct: bool, parsed: str | None) -> None:
    grade = score(line("New York", "exact_match"), text)
    assert (grade.correct, grade.parsed) == (correct, parsed)


@pytest.mark.parametrize(
    ("truth", "tolerance", "text", "correct"),
    [
        ("1905", 0, "1990", False),
        ("72", 0, "it is 72.", True),
        ("72", 0, "it is 72.4", False),
        ("12,5", 0, "12.5", True),
        ("12,5", 0, "99,5", False),
        ("3/4", 0, "0.75", True),
        ("3/4", 0, "1/4", False),
        (r"\frac{3}{4}", 0, r"\boxed{\frac{3}{4}}", True),
        ("3.14", 0, "3.14159", True),
        ("3.14", 0, "3.1", False),
        ("1.234,56", 0, "9.999,56", False),
        ("100", 0.05, "it is 105", True),
        ("100", 0.05, "it is 105.1", False),
        ("-100", 0.05, "-104", True),
        ("-100", 0.05, "104", False),
        ("1,000 m", 0, "so 1,000 metres", True),
        ("1,000 m", 0, "so 1000.5", False),
        ("100", 0.05, "first 100, then 7", False),
        ("5", 0.05, "inf", False),
        ("5", 0.05, "five", False),
        ("5", 0.05, "9" * 10_000, False),
        ("5", 0.05, "__import__('os')", False),
    ],
)
def test_numeric(truth: str, tolerance: float, text: str, correct: bool) -> None:
    assert score(line(truth, "numeric", tolerance), text).correct == correct


def test_a_numeric_gold_answer_is_refused_by_line(file: Path) -> None:
    answers = ["7", "2024-01-05", "5:30", "5 million", "3-4", "So 3 + 4 = 7"]
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    fix = (
        "metric 'numeric' needs exactly one plain number: put it into 'answer', or use metric 'exa"
    )
    problems = problems_of(file, metric="numeric")
    assert len(problems) == 5 and all(fix in problem for problem in problems)
    assert problems[0].startswith(
        "line 2: answer '2024-01-05' has digits that are not one number; "
    )
    assert problems[4].startswith("line 6: answer 'So 3 + 4 = 7' has several numbers; ")


def test_a_single_point_is_refused_where_others_have_decimal_commas(file: Path) -> None:
    answers = ["1.234", "2.345,50", "7", "1234", "1,234", "0,5"]
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    assert [problem[:57] for problem in problems_of(file, metric="numeric")] == [
        "line 1: answer '1.234' may have a thousands mark or a dec",
        "line 5: answer '1,234' may have a thousands mark or a dec",
    ]
    write(file, [question(i, response=text) for i, text in enumerate(["1.234", "1,234", "7"])])
    assert generate(spec(file, metric="numeric"))


def test_the_tolerance_is_exact_unless_given_and_belongs_to_numbers(file: Path) -> None:
    assert spec(file, metric="numeric").tolerance == 0
    with pytest.raises(ValueError, match="'tolerance' belongs to metric 'numeric', not 'exact_m"):
        spec(file, tolerance=0.1)
    for tolerance in (-0.1, 1, "inf"):
        with pytest.raises(ValueError, match="tolerance"):
            spec(file, metric="numeric", tolerance=tolerance)


# --- Different answers that count as equal -----------------------------------------------------


def test_answers_that_the_metric_cannot_tell_apart_are_refused(file: Path) -> None:
    years = [str(year) for year in range(1900, 1996, 5)]
    write(file, [question(i, response=year) for i, year in enumerate(years)])
    (problem,) = problems_of(file, metric="numeric", tolerance=0.05)
    assert problem == (
        "metric 'numeric' counts different answers as equal: 190 of 190 pairs of different "
        "answers, '1900' (line 1) and '1905' (line 2); '1900' (line 1) and '1910' (line 3); '1900' "
        "(line 1) and '1915' (line 4); and 187 more; it compares only the numbers: use one unit "
        "and the same number of decimals in all answers, and a smaller tolerance, or none"
    )
    assert generate(spec(file, metric="numeric"))


@pytest.mark.parametrize(
    ("metric", "answers", "settings"),
    [
        ("exact_match", ["Paris", "PARIS ", "Rome"], {}),
        ("numeric", ["100", "101", "200"], {"tolerance": 0.02}),
        ("numeric", ["3.1", "3.14", "5"], {}),
        ("numeric", ["5 km", "5 miles", "7 km"], {}),
        ("numeric", ["5 millones", "5 mil", "7 mil"], {}),
        ("numeric", ["3.5万元", "3.5美元", "7美元"], {}),
        ("numeric", ["300 BC", "300 AD", "44 BC"], {}),
        ("numeric", ["€5", "$5", "€7"], {}),
        ("numeric", ["5%", "5‰", "7%"], {}),
        ("numeric", ["($5)", "$5", "$7"], {}),
    ],
)
def test_some_answers_that_count_as_equal_are_said(
    file: Path, caplog: pytest.LogCaptureFixture, metric: str, answers: list[str], settings: Line
) -> None:
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    for _ in range(2):
        generate(spec(file, metric=metric, **settings))
    (text,) = caplog.messages  # once, although the file is read twice
    first, second = (repr(answer.strip()) for answer in answers[:2])
    assert f"{metric!r} counts different answers as equal: 1 of 3 pairs" in text
    assert f"{first} (line 1) and {second} (line 2); " in text


def test_spellings_of_one_number_are_one_answer(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = ["1,000", "1000", "1 000.0", "1e3", "$1000$", "#### 1000", r"\boxed{1000}", "7"]
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    assert generate(spec(file, metric="numeric")) and not caplog.messages


def test_units_alone_are_no_reason_to_refuse(file: Path) -> None:
    answers = [f"{name} has 1" for name in ("Ann", "Bob", "Eve", "Kim", "Lee")] + ["0"]
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    assert generate(spec(file, metric="numeric"))


def test_numeric_without_a_number_is_a_format_failure() -> None:
    assert score(line("5", "numeric"), "I cannot tell").format_failure
    assert score(line("5", "numeric"), "nan").format_failure
    assert not score(line("5", "numeric"), "6").format_failure


@pytest.mark.parametrize(
    ("answer", "text", "parsed"),
    [
        ("B", "B", "B"),
        ("B", "The answer is (B), not A.", "B"),
        ("B", "This is a hard one: B", "B"),  # the article is no label
        ("A", "A, since B is wrong", "A"),
        ("B", "Option-B", "B"),
        ("B", "ABBA", None),
        ("B", "b", None),
        ("B", "", None),
    ],
)
def test_choice_of_letters(answer: str, text: str, parsed: str | None) -> None:
    grade = score(line(answer, "choice", labels=["A", "B"]), text)
    assert grade.parsed == parsed and grade.correct == (parsed == answer)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("not entailed", "not entailed"),
        ("Not Entailed!", "not entailed"),
        ("entailed, not entailed", "entailed"),
        ("unentailed", None),
        ("non-entailed", None),
        ("not  entailed", "not entailed"),
        ("entailed\nin part", "entailed in part"),
        ("It is entailed", "entailed"),
        ("Entailed in part", "entailed in part"),
    ],
)
def test_choice_of_words(text: str, parsed: str | None) -> None:
    labels = ["entailed", "entailed in part", "not entailed"]
    assert score(line("entailed", "choice", labels=labels), text).parsed == parsed


def test_choice_of_digits_does_not_read_decimals() -> None:
    labels = ["0", "1", "2"]
    assert score(line("2", "choice", labels=labels), "7.1 or 0.75 or 1,5 so 2.").parsed == "2"


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("-1", "-1"), ("−1", None), ("1-2", None), ("0–1", None), ("1/2", "1"), ("is 1", "1")],
)
def test_choice_of_signed_digits(text: str, parsed: str | None) -> None:
    assert score(line("1", "choice", labels=["-1", "0", "1"]), text).parsed == parsed
    unsigned = score(line("1", "choice", labels=["0", "1"]), text).parsed
    assert unsigned == (None if text == "-1" else parsed)


def test_labels_are_the_answers_of_the_file(file: Path) -> None:
    rows = [question(i, response=f"I say {'yes' if i % 2 else 'no'}.") for i in range(4)]
    rows = [{**row, "answer": "yes" if "yes" in row["response"] else "no"} for row in rows]
    splits = generate(spec(write(file, rows), metric="choice"))
    example = splits["test"][0]
    assert example.meta["labels"] == ["no", "yes"]
    assert score(example.to_dict(), "Yes, sure").correct == (example.answer == "yes")


@given(st.text(), st.sampled_from(["exact_match", "numeric", "choice"]))
def test_any_text_can_be_graded(text: str, metric: str) -> None:
    grade = score(line("1", metric, labels=["1", "(x"]), text)
    assert not (grade.correct and grade.format_failure)


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


def test_domain_is_found_by_name() -> None:
    domain = get_domain("jsonl")
    assert domain.variants == ("response",) and set(domain.max_new_tokens) == {"response"}
    assert domain.generate is generate and domain.score is score


# --- Reading answers, shared with the other domains -------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("x\nFinal answer: 3 kg.\n", "3 kg"),
        ("FINAL ANSWER:3", "3"),
        ("**Final answer:** $3$", "3"),
        ("Final answer:\n\n**3**", "3"),
        ("Final answer: 1 Final answer: 2", "1 Final answer: 2"),
        ("Final answer: 1\nfinal answer: 2", "2"),
        ("final answer is 3", None),
        ("Final answer:", ""),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer
