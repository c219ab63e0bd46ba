"""When training tokens are learned: the share with p > .2 by epoch and by difficulty under θ0.

A token's probability in an epoch is that before the update of the step that it is part of.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

LEARNED = 0.2  # tokens with a larger probability count as learned, as in the paper
# Difficulty -> probabilities under θ0, above the first and at most the second.
DIFFICULTIES = {"hard": (0.0, 0.2), "middle": (0.2, 0.5), "easy": (0.5, 1.0)}
ALL = "all"


def difficulty_of(reference_nll: np.ndarray) -> np.ndarray:
    """Difficulty [N] of tokens, from their NLL [N] in nats under θ0."""
    hard, middle = (reference_nll >= -math.log(high) for _, high in list(DIFFICULTIES.values())[:2])
    found: np.ndarray = np.select([hard, middle], ["hard", "middle"], "easy")
    return found


def learned_by_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """Count the learned tokens of every example in every whole epoch.

    Args:
        frame: Training tokens of one run, see :mod:`~sft_tradeoff.analysis.token_records`.

    Returns:
        ``epoch``, ``example``, its ``cluster``, ``difficulty`` (with :data:`ALL`), ``learned`` and
        ``n_tokens``. An epoch that stopped partway is left out: it has other tokens.
    """
    tokens = pd.DataFrame(
        {
            "epoch": frame["epoch"],
            "example": frame["example"].astype(str),
            "cluster": frame["cluster"],
            "difficulty": difficulty_of(frame["reference_nll"].to_numpy()),
            "learned": (frame["nll"] < -math.log(LEARNED)).astype(float),
        }
    )
    both = pd.concat([tokens, tokens.assign(difficulty=ALL)])
    counted = both.groupby(["epoch", "example", "cluster", "difficulty"])["learned"].agg(
        ["sum", "count"]
    )
    found = counted.set_axis(["learned", "n_tokens"], axis="columns").reset_index()
    size = found[found["difficulty"] == ALL].groupby("epoch")["n_tokens"].sum()
    return found[found["epoch"].isin(size.index[size == size.max()])]
