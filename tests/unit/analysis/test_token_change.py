"""Shares of the change, by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.analysis.token_change import (
    is_easy,
    lorenz_curve,
    moved,
    shares_of_kinds,
    top_shares,
)


def both(before: list[float], after: list[float], kinds: str = "") -> pd.DataFrame:
    frame = pd.DataFrame({"nll": after, "nll_before": before}, dtype="float32")
    return frame.assign(kind=pd.Categorical(list(kinds or "c" * len(after))))


def test_change_is_absolute() -> None:
    assert moved(both([1, 2, 0], [0.5, 4, 0])).tolist() == [0.5, 2, 0]


def test_lorenz_curve_by_hand() -> None:
    """Changes 1, 4, 2, 3: the top quarter has 4 of 10; an eighth counts half of that token."""
    change = np.array([1.0, 4, 2, 3])
    curve = lorenz_curve(change, (0, 0.125, 0.25, 0.5, 0.75, 1))
    assert curve == pytest.approx([0, 0.2, 0.4, 0.7, 0.9, 1])


def test_equal_changes_are_the_diagonal_and_none_is_nan() -> None:
    assert lorenz_curve(np.full(7, 0.3), (0.1, 0.5, 1)) == pytest.approx([0.1, 0.5, 1])
    assert math.isnan(lorenz_curve(np.zeros(3), (0.5,))[0])


def test_weights_are_repetitions() -> None:
    """A resample in which the first token occurs twice and the second not at all."""
    change, weights = np.array([5.0, 3, 1, 1]), np.array([[2.0, 0, 1, 1], [1, 1, 1, 1]])
    found = top_shares(change, weights, 0.25)
    assert found.tolist() == pytest.approx([5 / 12, 5 / 10])
    repeated = np.array([5.0, 5, 1, 1])
    assert found[0] == pytest.approx(lorenz_curve(repeated, (0.25,))[0])


def test_kinds_by_hand() -> None:
    found = shares_of_kinds(both([0, 0, 0, 0], [1, 2, 3, 4], "ddct"))
    assert found == {
        "c": pytest.approx((0.25, 0.3)),
        "d": pytest.approx((0.5, 0.3)),
        "t": pytest.approx((0.25, 0.4)),
    }


def test_easy_tokens() -> None:
    assert is_easy(-np.log([0.51, 0.5, 0.49])).tolist() == [True, False, False]
