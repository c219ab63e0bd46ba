"""T1 and N3 on studies whose divergence is known: every verdict, and what is not tested."""

from __future__ import annotations

import numpy as np
import pytest

from sft_tradeoff.analysis.claims import divergence
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.tables import KL, TEXT_CHANGE, TEXT_KL
from sft_tradeoff.study.names import SAMPLED_TEXTS
from tests.unit.analysis.claims.simulated import (
    Run,
    joined,
    part_of,
    rows_of,
    study,
    value_of,
    verdicts,
)

CHANGE_KEY, KL_KEY = (SAMPLED_TEXTS, TEXT_CHANGE), (SAMPLED_TEXTS, TEXT_KL)
PROMPTS = ("d", KL)
STILL = (0.0, 0.0, 0.0)


# --- T1 -------------------------------------------------------------------------------------------


def texts(change: float, kl: float, spread: float = 0.05, small: float = 0.001) -> Results:
    """One arm whose largest rate has this change and KL; texts differ in their change."""
    runs = {
        1e-5: Run(extra={CHANGE_KEY: 9.0, KL_KEY: small}, seeds=STILL),
        1e-4: Run(extra={CHANGE_KEY: change, KL_KEY: kl}, seeds=STILL),
    }
    base = Run(extra={CHANGE_KEY: 0.0, KL_KEY: 0.0}, seeds=(0.0,))
    found = study({"sft": runs}, base=base)
    sign = np.resize([1.0, -1.0], 400)
    for run, items in found.items.items():
        if run != "m.base":
            items[CHANGE_KEY]["value"] += spread * sign
    return found


@pytest.mark.parametrize(
    ("change", "verdict"),
    [(0.1, "supported"), (0.105, "supported"), (0.2, "contradicted"), (0.112, "cannot tell")],
)
def test_t1_holds_if_the_difference_is_within_the_margin(change: float, verdict: str) -> None:
    found = texts(change, 0.1)
    (row,) = rows_of(found, "code_length_identity", 0.01)
    assert str(row.verdict) == verdict
    assert value_of(row) == pytest.approx(change - 0.1)
    assert row.finding.comparison == "sft at 1e-4"  # the largest rate only


def test_t1_one_seed_is_enough() -> None:
    """It holds for any weights, however they were trained."""
    found = texts(0.1, 0.1)
    runs = found.runs[found.runs["seed"].isna() | (found.runs["seed"] == 0)]
    one = Results(runs, found.items, found.configs)
    effect = part_of(rows_of(one, "code_length_identity", 0.01)[0]).effect
    assert effect.n_seeds == 1 and effect.interval.low < effect.interval.value < 0.01


def test_t1_does_not_count_where_the_interval_is_as_wide_as_the_kl() -> None:
    found = texts(0.0001, 0.0001, spread=0.05)
    (row,) = rows_of(found, "code_length_identity", 0.01)
    assert str(row.verdict) == "cannot tell"
    assert "around a KL of 0.0001 bits per byte is too wide to show it; sample more" in row.note


def test_t1_without_texts_is_not_tested() -> None:
    (row,) = rows_of(study({"sft": {1e-4: Run()}}), "code_length_identity", 0.01)
    assert str(row.verdict) == "not tested" and "set 'evaluation.sampled_texts'" in row.note


# --- N3 -------------------------------------------------------------------------------------------

RATES = (1e-6, 1e-5, 1e-4)


def methods(kl: dict[str, list[float]], loss: dict[str, list[float]], domain: str = "d") -> Results:
    """Methods with KL and general loss at three rates; the two seeds are the same."""
    arms = {
        name: {
            rate: Run(code=loss[name][i], extra={(domain, KL): kl[name][i]}, seeds=(0.0, 0.0))
            for i, rate in enumerate(RATES)
        }
        for name in kl
    }
    base = Run(accuracy=0.1, nll=2.0, seeds=(0.0,), extra={(domain, KL): 0.0})
    return study(arms, base=base, domain=domain)


def scattered(law: str) -> Results:
    """Eight methods; the loss follows KL, the learning rate (where KL falls with it) or neither."""
    rng = np.random.default_rng(0)
    kl = {f"m{i}": rng.permutation(np.geomspace(1e-3, 1, 24))[:3].tolist() for i in range(8)}
    if law == "rate":
        kl = {name: sorted(values, reverse=True) for name, values in kl.items()}
    loss = {
        name: {
            "kl": [0.2 * x for x in values],
            "rate": [0.001 * 10**i + 1e-5 * x for i, x in enumerate(values)],
            "neither": rng.uniform(0, 0.1, 3).tolist(),
        }[law]
        for name, values in kl.items()
    }
    return methods(kl, loss)


@pytest.mark.parametrize(
    ("law", "verdict"), [("kl", "supported"), ("rate", "contradicted"), ("neither", "cannot tell")]
)
def test_n3_kl_has_to_rank_runs_better_than_the_rate(law: str, verdict: str) -> None:
    assert verdicts(scattered(law), "kl_predicts_loss", 0.1) == [verdict]


def test_n3_one_method_says_nothing_that_its_rates_do_not() -> None:
    kl = {name: [0.001, 0.01, 0.1] for name in ("a", "b", "c")}
    (row,) = rows_of(methods(kl, kl), "kl_predicts_loss", 0.1)
    assert value_of(row, 1) == pytest.approx(1, abs=0.1)
    assert value_of(row) == pytest.approx(0, abs=0.1)
    assert str(row.verdict) == "equivalent"


def test_n3_numbers_are_those_of_all_runs_of_the_model() -> None:
    found = scattered("kl")
    (row,) = rows_of(found, "kl_predicts_loss", 0.1)
    gain, own = row.finding.parts
    assert own.effect.interval.value == pytest.approx(1, abs=0.01)
    assert (gain.effect.n_items, gain.effect.n_clusters, gain.effect.n_seeds) == (48, 24, 2)
    assert own.name == "ρ(KL, G)" and own.margin == 0.5
    assert "48 runs of 24 settings" in row.finding.comparison
    assert "0.2 · KL (slope 0.2 to 0.2), R² = 1.00" in row.finding.comparison


def test_n3_all_domains_of_a_model_count_together() -> None:
    rng = np.random.default_rng(1)
    kl = {name: rng.uniform(0.01, 1, 3).tolist() for name in "ab"}
    both = joined(methods(kl, kl, "d"), methods(kl, kl, "e"))
    (row,) = rows_of(both, "kl_predicts_loss", 0.1)
    assert part_of(row).effect.n_clusters == 12


def test_n3_adapters_are_ranked_among_themselves() -> None:
    """Their rates are larger for the same change, which is not held against the rate."""
    kl = {"sft": [0.01, 0.1, 1.0], "lora": [0.01, 0.1, 1.0]}
    found = methods(kl, kl)
    is_adapter = found.runs["label"] == "lora"
    runs = found.runs.assign(
        learning_rate=found.runs["learning_rate"].where(
            ~is_adapter, found.runs["learning_rate"] * 30
        )
    )
    (row,) = rows_of(Results(runs, found.items, found.configs), "kl_predicts_loss", 0.1)
    assert value_of(row) == pytest.approx(0, abs=0.05)


def test_n3_needs_several_settings_and_their_kl() -> None:
    few = methods({"a": [0.1, 0.2, 0.3]}, {"a": [0.1, 0.2, 0.3]})
    (row,) = rows_of(few, "kl_predicts_loss", 0.1)
    assert row.note == (
        "3 settings (domain, method and rate) are too few for a correlation; run at least 6"
    )
    older = study({name: {rate: Run() for rate in RATES} for name in "ab"})
    (row,) = rows_of(older, "kl_predicts_loss", 0.1)
    assert str(row.verdict) == "not tested" and "has no kl of d" in row.note
    same = {name: [0.1] * 3 for name in "ab"}
    still = methods(same, {name: [0.0] * 3 for name in "ab"})
    for items in still.items.values():
        items[PROMPTS]["value"] = 0.1
    (row,) = rows_of(still, "kl_predicts_loss", 0.1)
    assert row.note == "all runs have the same KL, learning rate or general loss"


def test_n3_intervals_cover_the_truth() -> None:
    """Repeated studies of correlated numbers: the 95 % intervals contain ρ about as often."""
    rng, n, hits = np.random.default_rng(0), 20, 0
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's ρ of normal numbers with r = .6
    for _ in range(100):
        kl = rng.normal(size=n)
        loss = 0.6 * kl + 0.8 * rng.normal(size=n)
        runs = divergence.Runs(kl, rng.normal(size=n), loss, n, 1)
        interval = divergence._parts(runs, 0.5, 0.1)[1].effect.interval
        hits += interval.low <= truth <= interval.high
    assert 88 <= hits <= 100
