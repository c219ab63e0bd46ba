"""What survives of a gain if the weights are rounded: known answers, and what cannot be told."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.analysis.noise_floor import NoiseFloor
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.analysis.shipped import survival

N = 40
DRAW = np.random.default_rng(1)
DIFFICULTY = 1 + DRAW.random(N)


def items(trained: np.ndarray, shipped: np.ndarray, clusters: int = N) -> Items:
    """Losses of items of two tokens each."""
    names = [str(i) for i in range(N)]
    return {
        ("d", metric): pd.DataFrame(
            {"value": value, "size": 2.0, "cluster": [f"c{i % clusters}" for i in range(N)]},
            index=names,
        ).sample(frac=1, random_state=len(metric))
        for metric, value in {"nll": trained, "nll_shipped": shipped}.items()
    }


BASE = items(DIFFICULTY, DIFFICULTY)


def run(share: float, spread: float = 0.0, seed: int = 0) -> Items:
    """Gains 0.8 nats (0.4 per token) as trained, and a share of it as shipped."""
    noise = spread * np.random.default_rng(seed).standard_normal(N)
    return items(DIFFICULTY - 0.8, DIFFICULTY - 0.8 * share - noise)


def test_a_quarter_survives() -> None:
    found = survival([run(0.25)], BASE, "d")
    assert found is not None and found.share is not None
    assert found.trained[:3] == pytest.approx((0.4, 0.4, 0.4))
    assert found.shipped[:3] == pytest.approx((0.1, 0.1, 0.1))
    assert found.share[:3] == pytest.approx((0.25, 0.25, 0.25))


def test_the_interval_is_that_of_a_mean_over_items() -> None:
    """All items gain 0.8 as trained, so the share is a mean: half width t · s / √n."""
    scores = run(0.5, spread=0.4)
    found = survival([scores], BASE, "d")
    assert found is not None and found.share is not None
    shares = (
        DIFFICULTY - scores["d", "nll_shipped"].loc[[str(i) for i in range(N)], "value"]
    ) / 0.8
    assert found.share.value == pytest.approx(shares.mean())
    expected = 2.0227 * shares.std(ddof=1) / math.sqrt(N)
    assert found.share.high - found.share.value == pytest.approx(expected, rel=0.07)


def test_items_of_a_cluster_count_once() -> None:
    """Ten items each in four clusters, with equal scores: four observations, not forty."""
    gains = np.array([0.1, 0.3, 0.5, 0.7])[np.arange(N) % 4]
    base = items(DIFFICULTY, DIFFICULTY, clusters=4)
    found = survival([items(DIFFICULTY - 0.8, DIFFICULTY - gains, clusters=4)], base, "d")
    assert found is not None and found.share is not None
    assert found.share.df == 3
    width = found.share.high - found.share.low
    assert width > 2 * 3.18 * np.std(gains / 0.8) / 2 * 0.9


def test_seeds_that_differ_widen_the_interval() -> None:
    """Shares .4 and .6: mean .5, s / √2 = .1, t of one degree of freedom 12.7."""
    found = survival([run(0.4), run(0.6)], BASE, "d")
    assert found is not None and found.share is not None
    assert found.share.value == pytest.approx(0.5)
    assert found.share.high - found.share.value == pytest.approx(12.706 * 0.1, rel=1e-3)


def test_the_noise_floor_widens_all_three() -> None:
    """ε = 0.02 nats; in the ratio ε (1 + 0.25) / 0.4."""
    floors = {("d", "nll"): NoiseFloor(floor=0.02, score=1.0, variants={})}
    found = survival([run(0.25)], BASE, "d", floors)
    assert found is not None and found.share is not None
    assert found.trained.low == pytest.approx(0.38) and found.shipped.high == pytest.approx(0.12)
    assert found.share.high - 0.25 == pytest.approx(0.02 * 1.25 / 0.4)


@pytest.mark.parametrize("gain", [0.0, -0.8])
def test_no_share_of_a_gain_that_is_none(gain: float) -> None:
    found = survival([items(DIFFICULTY - gain, DIFFICULTY)], BASE, "d")
    assert found is not None and found.share is None


def test_no_share_of_a_gain_within_the_noise_floor() -> None:
    floors = {("d", "nll"): NoiseFloor(floor=0.5, score=1.0, variants={})}
    found = survival([run(1.0)], BASE, "d", floors)
    assert found is not None and found.share is None


def test_rounding_can_enlarge_a_gain() -> None:
    found = survival([run(1.7)], BASE, "d")
    assert found is not None and found.share is not None
    assert found.share.value == pytest.approx(1.7)


def test_without_scores_as_shipped_there_is_nothing_to_compare() -> None:
    older = {key: frame for key, frame in run(0.5).items() if key[1] == "nll"}
    assert survival([older], BASE, "d") is None
    assert survival([], BASE, "d") is None


def test_broken_scores_cannot_tell() -> None:
    scores = run(0.5)
    scores["d", "nll_shipped"].loc["3", "value"] = math.nan
    found = survival([scores], BASE, "d")
    assert found is not None and found.share is not None
    assert math.isnan(found.share.value) and math.isnan(found.shipped.low)
