"""Warnings about the weight of the answer."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.answer_weights import (
    COLUMNS,
    answer_weights_paragraph,
    read_answer_weights,
    unread,
    warnings_of,
)
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import atomic_write_text


def table(**row: object) -> pd.DataFrame:
    known = {"model": "m", "domain": "d", "method": "talr", "label": "talr"}
    known |= {"n_tokens": 9, "n_answer_tokens": 3}
    numbers = dict.fromkeys(COLUMNS, 0.5) | {"remedies": ""}
    return pd.DataFrame([numbers | known | row], columns=COLUMNS)


def test_enough_in_both_states_is_no_warning() -> None:
    assert warnings_of(table(kept_theta0=0.1, kept_form=0.1)) == []


@pytest.mark.parametrize(("theta0", "form"), [(0.32, 0.013), (0.013, 0.32)])
def test_too_little_in_one_state_names_both_and_the_remedies(theta0: float, form: float) -> None:
    remedies = "`floor: 0.1` (11%)"
    [text] = warnings_of(table(kept_theta0=theta0, kept_form=form, remedies=remedies))
    assert text.startswith("talr on d (m) gives the tokens of the answer ")
    assert "32%" in text and "1.3%" in text
    assert "Try an option that keeps more (`floor: 0.1` (11%)), or another method" in text


def test_a_method_without_a_remedy_is_to_be_replaced() -> None:
    [text] = warnings_of(table(method="dft", label="dft", kept_theta0=0.01))
    assert "Try another method" in text


def test_weights_that_are_all_zero_teach_nothing() -> None:
    [text] = warnings_of(table(kept_theta0=math.nan, kept_form=math.nan))
    assert text == "talr on d (m): every token weighs 0, so nothing is learned."


def test_without_tokens_of_an_answer_nothing_is_known() -> None:
    found = table(n_answer_tokens=0, kept_theta0=math.nan, kept_form=math.nan)
    assert warnings_of(found) == []
    assert unread(found) == "no token of the answer found: d (m)"
    assert unread(table()) == ""


def test_the_paragraph_lists_all_warnings(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, kept in zip(paths, (0.02, 0.5), strict=True):
        text = table(kept_form=kept).to_csv(index=False, lineterminator="\n")
        atomic_write_text(path, text, checksum=True)
    first, _, line = answer_weights_paragraph(paths).splitlines()
    assert first == "**A method may starve the answer.** Measured before training:"
    assert line.startswith("- talr on d (m) gives")
    assert answer_weights_paragraph(paths[1:]) == answer_weights_paragraph([]) == ""
    assert read_answer_weights(paths[1])["remedies"].tolist() == [""]


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("model,label,method,domain\nm,l,m,d\n")
    with pytest.raises(UserError, match=r"no column n_examples.*'sft-tradeoff answer-weights'"):
        read_answer_weights(path)
