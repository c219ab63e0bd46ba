"""The claim about seeds: R3, against a two-way analysis of variance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.formula.api import ols

from tests.unit.analysis.claims.simulated import SMALL, Run, part_of, rows_of, study, value_of


def with_noise(shifts: tuple[float, ...], noise: float) -> dict[str, np.ndarray]:
    """Losses of 400 items: item, seed and independent noise."""
    rng = np.random.default_rng(3)
    items = rng.normal(1.0, 0.3, 400)
    return {f"{i}": items + s + rng.normal(0, noise, 400) for i, s in enumerate(shifts)}


def test_share_from_mean_squares() -> None:
    """1 − M_rest / M_seeds, and the p value is that of F in statsmodels' table."""
    results = study({"sft": {SMALL: Run(seeds=(0.0, 0.0, 0.0))}})
    table = with_noise((0.0, 0.02, -0.03), 0.2)
    for seed, values in table.items():
        results.items[f"m.d.sft.1e-05.{seed}"]["d", "nll"]["value"] = values
    (row,) = rows_of(results, "seeds_matter", 1e-9)
    long = pd.DataFrame(table).reset_index().melt("index", var_name="seed")
    anova = sm.stats.anova_lm(ols("value ~ C(seed) + C(index)", long).fit())
    f = anova.loc["C(seed)", "F"]
    assert value_of(row) == pytest.approx(1 - 1 / f)
    assert row.p == pytest.approx(2 * anova.loc["C(seed)", "PR(>F)"])
    low, high = part_of(row).effect.interval[1:3]
    assert 0 <= low < 1 - 1 / f < high <= 1


@pytest.mark.parametrize(
    ("shifts", "verdict"),
    [((0.0, 0.5, -0.5), "supported"), ((0.0, 0.0, 0.0), "cannot tell")],
)
def test_seeds_that_move_the_score(shifts: tuple[float, ...], verdict: str) -> None:
    results = study({"sft": {SMALL: Run(seeds=(0.0, 0.0, 0.0))}})
    for seed, values in with_noise(shifts, 0.1).items():
        results.items[f"m.d.sft.1e-05.{seed}"]["d", "nll"]["value"] = values
    (row,) = rows_of(results, "seeds_matter", 0.5)
    assert row.verdict == verdict


def test_accuracies_at_chance_decide_nothing() -> None:
    results = study({"sft": {SMALL: Run(0.5)}}, n_labels=2)
    rng = np.random.default_rng(0)
    for seed in range(3):
        frame = results.items[f"m.d.sft.1e-05.{seed}"]["d", "accuracy"]
        frame["value"] = rng.permutation(frame["value"])
    (row,) = rows_of(results, "seeds_matter", 0.5, metric="accuracy")
    assert row.verdict == "cannot tell" and row.note.startswith("no score is above chance (0.500)")


def test_one_seed_and_equal_seeds() -> None:
    (row,) = rows_of(study({"sft": {SMALL: Run(seeds=(0.0,))}}), "seeds_matter")
    assert row.note == "one seed does not show how much seeds differ; train at least 2"
    (row,) = rows_of(study({"sft": {SMALL: Run(seeds=(0.0, 0.0))}}), "seeds_matter")
    assert row.note == "the seeds have the same scores on all items, or differ alike on all"
