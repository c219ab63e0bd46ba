"""Which tokens training moved: |Δ log p| of the test's right answers, between θ0 and a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

EASY = 0.5  # tokens with a larger probability under θ0 are easy
TOPS = (0.0, 0.005, 0.01, 0.02, 0.05, *(n / 10 for n in range(1, 11)))  # shares of all tokens
QUANTILES = tuple(n / 100 for n in range(101))


def is_easy(nll: np.ndarray) -> np.ndarray:
    """Whether tokens have p > .5, from their NLL [N] in nats."""
    found: np.ndarray = nll < -math.log(EASY)
    return found


def moved(both: pd.DataFrame) -> np.ndarray:
    """|Δ log p| [N] in nats of tokens as :func:`~.token_records.paired` returns them."""
    found: np.ndarray = (both["nll"] - both["nll_before"]).abs().to_numpy(np.float64)
    return found


def top_shares(change: np.ndarray, weights: np.ndarray, top: float) -> np.ndarray:
    """Share of the sum of changes that the tokens with the largest changes carry.

    The last token counts in part, so the share is 1 for all tokens and continuous in ``top``: a
    point of the Lorenz curve, from the right.

    Args:
        change: [N] ≥ 0, sorted from the largest.
        weights: [R, N] times that each token counts, e.g. of R resamples.
        top: Share of the tokens, in [0, 1].

    Returns:
        [R]; NaN where nothing changed.
    """
    n = weights.cumsum(-1)  # (R, N)
    wanted = top * n[:, -1:]  # (R, 1)
    part = np.clip(wanted - (n - weights), 0.0, weights)  # (R, N), of each token
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (part @ change) / (weights @ change)
    return found


def lorenz_curve(change: np.ndarray, tops: Sequence[float] = TOPS) -> list[float]:
    """:func:`top_shares` of tokens [N] that count once, at several shares."""
    ordered, once = np.sort(change)[::-1], np.ones((1, len(change)))
    return [float(top_shares(ordered, once, top)[0]) for top in tops]


def shares_of_kinds(both: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Kind -> its share of all tokens, and its share of Σ|Δ log p|."""
    change = pd.Series(moved(both), index=both.index)
    groups = change.groupby(both["kind"].astype(str), sort=True)
    total = change.sum()
    return {
        str(kind): (len(part) / len(both), float(part.sum() / total) if total else math.nan)
        for kind, part in groups
    }
