"""Draw the paper's theory on small distributions; needs no study, no model and no data."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_tradeoff.analysis.claims.theory import HardTokenOptions, TiltingOptions
from sft_tradeoff.report.figures.style import house_style, save_figure
from sft_tradeoff.report.theory_figure import CURVE, EQUAL_GAIN, SAFE_STEP, draw
from sft_tradeoff.system.console import run_main
from sft_tradeoff.theory.equal_gain import at_gain
from sft_tradeoff.theory.example import doublings, example
from sft_tradeoff.theory.hard_tokens import Positions

if TYPE_CHECKING:
    import pandas as pd

CURVES = (1, 2, 4, 32)  # numbers of steps
GAINS = np.linspace(0.02, 0.7, 35)  # nats per token
SHARES = np.linspace(0, 0.5, 51)
DECIMALS = 9  # beyond them is the rounding of float64


def theory_table() -> pd.DataFrame:
    """All numbers of the figure.

    Returns:
        One row per number of steps and domain gain (``kind`` curve), with more numbers of steps at
        one gain (equal gain), and one row per share of hard tokens (safe step). Losses, gains and
        bounds are in nats per token; NaN where a column does not apply.
    """
    import pandas as pd

    gain, most = TiltingOptions().gain, TiltingOptions().most_steps
    curves = [_at_gain(CURVE, float(gain), n) for n in CURVES for gain in GAINS]
    equal = [_at_gain(EQUAL_GAIN, gain, n) for n in doublings(most)]
    rows = [*chain(*curves, *equal), *_safe_steps()]
    return pd.DataFrame(rows).round(DECIMALS).astype({"n_steps": "Int64"})


def _at_gain(kind: str, gain: float, n: int) -> list[dict[str, Any]]:
    """One row for each kind of target."""
    return [
        {"kind": kind, "target": target, "n_steps": n} | at_gain(tilting, gain, n)._asdict()
        for target, tilting in example().items()
    ]


def _safe_steps() -> list[dict[str, Any]]:
    options = HardTokenOptions()
    return [
        {
            "kind": SAFE_STEP,
            "easy": easy,
            "hard": hard,
            "share": float(share),
            "step": Positions(easy, hard, options.target).largest_safe_step(
                float(share), options.nats
            ),
        }
        for easy, hard in (*options.tokens, *options.details)
        for share in SHARES
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff theory``."""
    parser.add_argument(
        "--out-stem",
        type=Path,
        default=Path("figures/theory/theory"),
        help="output path, no extension",
    )


def main(args: argparse.Namespace) -> None:
    """Write the figure and its numbers."""
    with run_main("theory"):
        table = theory_table()
        with house_style():
            save_figure(draw(table), table, args.out_stem)
