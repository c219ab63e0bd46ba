"""Learned tokens by epoch and difficulty, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sft_tradeoff.analysis.token_curriculum import difficulty_of, learned_by_epoch


def test_difficulties_by_hand() -> None:
    """The bounds themselves belong to the harder kind."""
    p = np.array([0.0, 0.1, 0.2, 0.21, 0.5, 0.51, 1.0])
    with np.errstate(divide="ignore"):
        found = difficulty_of(-np.log(p))
    assert found.tolist() == ["hard", "hard", "hard", "middle", "middle", "easy", "easy"]


def tokens(rows: list[tuple[int, str, float, float]]) -> pd.DataFrame:
    """Epoch, example, p under θ0 and p."""
    frame = pd.DataFrame(rows, columns=["epoch", "example", "before", "p"])
    return frame.assign(nll=-np.log(frame["p"]), reference_nll=-np.log(frame["before"]), cluster=0)


def test_counts_by_hand() -> None:
    rows = [
        *[(1, "a", 0.1, 0.1), (1, "a", 0.9, 0.9), (1, "b", 0.1, 0.3)],
        *[(2, "a", 0.1, 0.3), (2, "a", 0.9, 0.2), (2, "b", 0.1, 0.5)],
        *[(3, "a", 0.1, 0.9), (3, "a", 0.9, 0.9)],  # stopped before example b
    ]
    found = learned_by_epoch(tokens(rows)).set_index(["epoch", "example", "difficulty"])[
        ["learned", "n_tokens"]
    ]
    assert set(found.index.get_level_values("epoch")) == {1, 2}
    assert found.loc[(1, "a", "all")].tolist() == [1, 2]
    assert found.loc[(1, "a", "hard")].tolist() == [0, 1]
    assert found.loc[(2, "a", "hard")].tolist() == [1, 1]
    assert found.loc[(2, "a", "easy")].tolist() == [0, 1]
    assert found.loc[(2, "b", "all")].tolist() == [1, 1]
    assert (1, "a", "middle") not in found.index
