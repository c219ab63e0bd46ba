"""The claim that few hard tokens drive the damage: F4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sft_tradeoff.analysis.claims.results import Results
from tests.unit.analysis.claims.simulated import SMALL, Run, part_of, rows_of, study, value_of
from tests.unit.analysis.claims.token_files import EXAMPLE, PLACE, with_tokens

OPTIONS = {
    "easy": {"keep": "easy", "threshold": 0.5},
    "hard": {"keep": "hard", "threshold": 0.5},
}


def trained(folder: Path, easy: Run, hard: Run, easy_tokens: int = 16, sft: float = 0.2) -> Results:
    """SFT loses ``sft`` bits per byte; so many of 20 tokens are easy for θ0, give or take one."""
    arms = {
        "sft": {SMALL: Run(code=sft)},
        "easy:token_subset": {SMALL: easy},
        "hard:token_subset": {SMALL: hard},
    }
    results = study(arms, OPTIONS)
    n_easy = easy_tokens + np.resize([1, -1, 0], EXAMPLE.max() + 1)[EXAMPLE]
    base = -np.log(np.where(n_easy > PLACE, 0.9, 0.1))
    return with_tokens(results, folder, base, lambda _: base)


@pytest.mark.parametrize(
    ("easy", "hard", "verdict"),
    [
        (0.04, 0.16, "supported"),
        (0.16, 0.04, "contradicted"),
        (0.1, 0.1, "equivalent"),
    ],
)
def test_damage_of_hard_tokens(tmp_path: Path, easy: float, hard: float, verdict: str) -> None:
    damage, gain = rows_of(
        trained(tmp_path, Run(code=easy), Run(code=hard)), "hard_token_damage", 0.2
    )
    assert damage.verdict == verdict
    assert value_of(damage) == pytest.approx((hard - easy) / 0.2, abs=0.01)
    assert value_of(damage, 1) == pytest.approx(16 / 20 - 0.5, abs=0.001)
    assert "(median p 0.900)" in part_of(damage, 1).name
    assert gain.finding.detail and value_of(gain) == pytest.approx(0)


def test_few_easy_tokens_contradict(tmp_path: Path) -> None:
    results = trained(tmp_path, Run(code=0.04), Run(code=0.16), easy_tokens=4)
    damage, _ = rows_of(results, "hard_token_damage", 0.2)
    assert damage.verdict == "contradicted"


def test_without_damage_it_cannot_tell(tmp_path: Path) -> None:
    results = trained(tmp_path, Run(code=0.0001), Run(code=0.0005), sft=0.0006)
    damage, _ = rows_of(results, "hard_token_damage", 0.2)
    assert damage.verdict == "cannot tell"


def test_which_half_the_domain_needs(tmp_path: Path) -> None:
    """θ0 has 2 nats and SFT 1; with hard tokens only 1.1, with easy ones only 1.9."""
    results = trained(tmp_path, Run(nll=1.9), Run(nll=1.1))
    _, gain = rows_of(results, "hard_token_damage", 0.2)
    assert value_of(gain) == pytest.approx(0.8, abs=0.01)
    assert gain.verdict == "supported"


def test_what_is_missing(tmp_path: Path) -> None:
    (row,) = rows_of(study({"sft": {SMALL: Run()}}), "hard_token_damage", 0.2)
    assert row.note.startswith("no standard SFT and token_subset with 'keep: easy'")
    results = trained(tmp_path, Run(), Run())
    (tmp_path / "m.base" / "tokens.parquet").unlink()
    damage, gain = rows_of(results, "hard_token_damage", 0.2)
    assert damage.note.startswith("run m.base has kept no tokens")
    assert gain.verdict != "not tested"
