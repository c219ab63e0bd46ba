"""Answers that two runs gave to the same items."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_tradeoff.analysis.answers import SCHEMA, changed_answers, read_answers
from sft_tradeoff.system.files import DamagedFileError

NO = {"log_likelihood": None, "gold": None}
BASE = [
    {"item": "a", "text": "4", "parsed": "4", "correct": True},
    {"item": "b", "text": "5", "parsed": "5", "correct": False},
    {"item": "c", "text": "6", "parsed": "6", "correct": True},
    {"item": "d", "text": "?", "parsed": None, "correct": None},
    {"item": "e", "text": "1", "parsed": "1", "correct": True},
]
RUN = [
    {"item": "c", "text": "7", "parsed": "7", "correct": False},
    {"item": "a", "text": "four: 4", "parsed": "4", "correct": True},
    {"item": "b", "text": "2", "parsed": "2", "correct": True},
    {"item": "d", "text": "3", "parsed": "3", "correct": True},
    {"item": "f", "text": "1", "parsed": "1", "correct": True},
]
CHOICE = {"benchmark": "piqa", "item": "p", "kind": "multiple_choice", "gold": 1, "text": None}


def write(folder: Path, rows: list[dict[str, object]]) -> pd.DataFrame:
    folder.mkdir(parents=True)
    records = [{"benchmark": "d", "kind": "generation"} | NO | row for row in rows]
    pq.write_table(pa.Table.from_pylist(records, SCHEMA), folder / "answers.parquet")
    found = read_answers(folder)
    assert found is not None
    return found


def test_items_lost_and_gained_with_both_answers(tmp_path: Path) -> None:
    """a: right in both; d: not graded in one; e and f: asked in one only."""
    chosen = [
        {"parsed": "1", "correct": True, "log_likelihood": [-3.0, -2.0]},
        {"parsed": "0", "correct": False, "log_likelihood": [-1.0, -2.0]},
    ]
    base = write(tmp_path / "base", [*BASE, CHOICE | chosen[0]])
    run = write(tmp_path / "run", [*RUN, CHOICE | chosen[1]])
    found = changed_answers(base, run)
    columns = ["benchmark", "item", "change", "text_one", "text_other", "parsed_one"]
    assert found[columns].to_numpy().tolist() == [
        ["d", "c", "lost", "6", "7", "6"],
        ["d", "b", "gained", "5", "2", "5"],
        ["piqa", "p", "lost", None, None, "1"],
    ]
    last = found.iloc[-1]
    assert list(last["log_likelihood_one"]) == [-3, -2] and last["gold"] == 1
    assert list(last["log_likelihood_other"]) == [-1, -2]
    back = changed_answers(run, base).set_index("item")["change"]
    assert back.to_dict() == {"b": "lost", "c": "gained", "p": "gained"}


def test_a_run_compared_with_itself_lost_nothing(tmp_path: Path) -> None:
    base = write(tmp_path / "base", BASE)
    assert changed_answers(base, base).empty


def test_answers_that_are_not_kept_are_none(tmp_path: Path) -> None:
    assert read_answers(tmp_path) is None


@pytest.mark.parametrize(
    "rows", [[*BASE, BASE[0]], [{"item": None, "correct": True}]], ids=["twice", "no name"]
)
def test_damaged_answers_are_refused(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    with pytest.raises(DamagedFileError, match=r"answers\.parquet: damaged .* run the same"):
        write(tmp_path / "base", rows)


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"benchmark": ["d"]}), tmp_path / "answers.parquet")
    with pytest.raises(DamagedFileError, match=r"answers\.parquet"):
        read_answers(tmp_path)
