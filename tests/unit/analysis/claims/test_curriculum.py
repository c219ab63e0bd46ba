"""The claim about the order in which tokens are learned: F5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sft_tradeoff.analysis.claims.results import Results
from tests.unit.analysis.claims.simulated import (
    SMALL,
    Run,
    part_of,
    rows_of,
    study,
    value_of,
    written,
)
from tests.unit.analysis.claims.token_files import EXAMPLE, N_EXAMPLES, PLACE, write_training

HARD = PLACE < 10  # half of the tokens: p = .05 under θ0, the others .9
REFERENCE = -np.log(np.where(HARD, 0.05, 0.9))
N = len(PLACE)


def trained(folder: Path, shares: dict[str, tuple[float, ...]]) -> Results:
    """Method -> share of the hard tokens with p > .2 by epoch; seeds differ by a few tokens."""
    results = written(study({name: {SMALL: Run()} for name in shares}), folder)
    rng = np.random.default_rng(0)
    for name, by_epoch in shares.items():
        for seed in range(3):
            order = rng.permutation(N) / N
            learned = [~HARD | (order < share) for share in by_epoch]
            nll = -np.log(np.where(learned, 0.5, 0.1))
            write_training(folder / f"m.d.{name}.1e-05.{seed}", nll, REFERENCE)
    return results


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((0.2, 0.3, 0.6), "supported"),
        ((0.6, 0.2), "contradicted"),
        ((0.4, 0.4), "equivalent"),
        ((0.4, 0.425), "cannot tell"),
    ],
)
def test_the_share_of_learned_tokens(
    tmp_path: Path, shares: tuple[float, ...], verdict: str
) -> None:
    """Half of the tokens are hard, so the share of all rises by half as much."""
    (row,) = rows_of(trained(tmp_path, {"talr": shares}), "token_curriculum", 0.01)
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx((shares[-1] - shares[0]) / 2, abs=0.005)


def test_examples_of_one_cluster_are_one_observation(tmp_path: Path) -> None:
    """Alike in groups of ten, examples give an interval √10 times as wide, with df = 9."""
    group = np.arange(N_EXAMPLES) // 10
    late = (group % 2 == 0)[EXAMPLE]  # learns its hard tokens in the second epoch
    nll = -np.log(np.stack([np.where(HARD, 0.1, 0.9), np.where(HARD & ~late, 0.1, 0.9)]))
    widths = []
    results = written(study({"talr": {SMALL: Run()}}), tmp_path)
    for cluster_of in (np.arange(N_EXAMPLES), group):
        for seed in range(3):
            folder = tmp_path / f"m.d.talr.1e-05.{seed}"
            write_training(folder, nll, REFERENCE, cluster_of)
        (row,) = rows_of(results, "token_curriculum", 0.01)
        assert value_of(row) == pytest.approx(0.25)
        widths.append(part_of(row).effect.interval.stderr)
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(99 / 9), rel=0.1)


def test_sft_beside_it_is_a_detail(tmp_path: Path) -> None:
    results = trained(tmp_path, {"talr": (0.2, 0.3), "sft": (0.2, 0.6)})
    ours, theirs, beside = rows_of(results, "token_curriculum", 0.01)
    assert not ours.finding.detail and theirs.finding.detail and beside.finding.detail
    assert value_of(theirs) == pytest.approx(0.2, abs=0.005)
    assert value_of(beside) == pytest.approx(0.1 - 0.4, abs=0.02)  # of the hard tokens alone


def test_without_tokens_or_epochs(tmp_path: Path) -> None:
    (row,) = rows_of(study({"talr": {SMALL: Run()}}), "token_curriculum", 0.01)
    assert row.note.startswith("no run of talr has kept its training tokens; set 'record_tokens")
    (row,) = rows_of(trained(tmp_path, {"talr": (0.5,)}), "token_curriculum", 0.01)
    assert row.note == "talr at 1e-5: one whole epoch shows no rise; train at least 2"


def test_sft_alone_says_nothing_about_talr(tmp_path: Path) -> None:
    (row,) = rows_of(trained(tmp_path, {"sft": (0.2, 0.6)}), "token_curriculum", 0.01)
    assert row.verdict == "not tested"
