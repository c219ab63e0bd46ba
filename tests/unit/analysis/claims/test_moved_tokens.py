"""The claim about which tokens move: V2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.noise_floor import TOKEN_CHANGE
from sft_tradeoff.analysis.token_records import TokensMismatch
from tests.unit.analysis.claims.simulated import SMALL, Run, part_of, rows_of, study, value_of
from tests.unit.analysis.claims.token_files import EXAMPLE, PLACE, with_tokens, write_test

NAME = "m.d.sft.1e-05"


def moved_by(folder: Path, share: float) -> Results:
    """Two of 20 tokens of each example carry this share of the change; seeds differ by 1 %."""
    wave = 1 + 0.05 * np.resize([1.0, -1.0], len(EXAMPLE))
    change = np.where(PLACE < 2, share / 2, (1 - share) / 18) * wave
    return with_tokens(
        study({"sft": {SMALL: Run()}}),
        folder,
        np.full(len(PLACE), 3.0),
        lambda run: 3.0 - change * np.where(PLACE < 2, 1 + 0.01 * run["seed"], 1.0),
    )


@pytest.mark.parametrize(
    ("share", "verdict"),
    [(0.9, "supported"), (0.3, "contradicted"), (0.5, "equivalent")],
)
def test_the_top_tenth(tmp_path: Path, share: float, verdict: str) -> None:
    """2 of 20 tokens are the top tenth: they carry ``share``, by definition."""
    (row,) = rows_of(moved_by(tmp_path, share), "moved_tokens", 0.1)
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(share - 0.5, abs=0.02)
    assert part_of(row).effect.n_items == 100 and part_of(row).effect.n_seeds == 3


def test_near_the_margin_it_cannot_tell(tmp_path: Path) -> None:
    """Examples differ widely, so that the interval holds the margin."""
    rng = np.random.default_rng(0)
    of_example = rng.uniform(0.2, 1.0, 100)[EXAMPLE]
    change = np.where(PLACE < 2, of_example / 2, (1 - of_example) / 18)
    results = with_tokens(
        study({"sft": {SMALL: Run()}}), tmp_path, np.full(len(PLACE), 3.0), lambda _: 3.0 - change
    )
    (row,) = rows_of(results, "moved_tokens", 0.1)
    assert row.verdict == "cannot tell"


def test_what_rounding_moves_decides_nothing(tmp_path: Path) -> None:
    """With other arithmetic θ0's tokens change by as much: the share is noise, whatever it is."""
    results, mean = moved_by(tmp_path, 0.9), 1 / 20
    for noise, verdict in ((0.2 * mean, "supported"), (mean, "cannot tell")):
        results.floors["m"] = {("d", TOKEN_CHANGE): noise}
        (row,) = rows_of(results, "moved_tokens", 0.1)
        assert row.verdict == verdict
        assert part_of(row).effect.interval.floor == pytest.approx(noise / mean, rel=0.02)


def test_without_tokens(tmp_path: Path) -> None:
    (row,) = rows_of(study({"sft": {SMALL: Run()}}), "moved_tokens", 0.1)
    assert row.note == (
        "no run has kept the tokens of its test; set 'record_tokens: true' in the study"
    )
    results = moved_by(tmp_path, 0.9)
    (tmp_path / f"{NAME}.1" / "tokens.parquet").unlink()
    (row,) = rows_of(results, "moved_tokens", 0.1)
    assert row.note.startswith(f"run {NAME}.1 has kept no tokens")


def test_what_did_not_move_or_is_not_finite(tmp_path: Path) -> None:
    results = moved_by(tmp_path, 0.9)
    write_test(tmp_path / f"{NAME}.1", np.full(len(PLACE), 3.0))
    (row,) = rows_of(results, "moved_tokens", 0.1)
    assert row.note == "sft at 1e-5: no token moved"
    write_test(tmp_path / f"{NAME}.1", np.full(len(PLACE), np.inf))
    (row,) = rows_of(results, "moved_tokens", 0.1)
    assert row.note == f"run {NAME}.1: the loss of 2000 tokens is not finite"


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    results = moved_by(tmp_path, 0.9)
    write_test(tmp_path / f"{NAME}.1", np.full(len(PLACE), 2.0), vocabulary_sha256="other")
    with pytest.raises(TokensMismatch, match=r"vocabulary_sha256 is other, θ0 .* has v"):
        rows_of(results, "moved_tokens", 0.1)
