"""Files of single tokens for simulated studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.tables import BASE, rows_of
from sft_tradeoff.analysis.token_records import (
    TEST_TOKENS,
    TRAINING_TOKENS,
    Facts,
    token_batch,
    write_tokens,
)
from tests.unit.analysis.claims.simulated import META, written
from tests.unit.analysis.evaluations import hash_of

N_EXAMPLES, N_PLACES = 100, 20
EXAMPLE = np.repeat(np.arange(N_EXAMPLES), N_PLACES)
PLACE = np.tile(np.arange(N_PLACES), N_EXAMPLES)
ALONE = np.arange(N_EXAMPLES)  # every example is its own cluster


def columns(n_repeats: int = 1, text: str = "w", cluster_of: np.ndarray = ALONE) -> dict[str, Any]:
    """100 examples of 20 tokens; the names are those of the first test items."""
    example, place = (np.tile(x, n_repeats) for x in (EXAMPLE, PLACE))
    return {
        "example": [f"i{i:04}" for i in example],
        "cluster": cluster_of[example].astype(np.int32),
        "place": place.astype(np.int32),
        "token": place.astype(np.int32),
        "text": [text] * len(place),
        "kind": ["content"] * len(place),
    }


def write_test(folder: Path, nll: np.ndarray, domain: str = "d", **changed: str) -> None:
    """Tokens of a run's test; ``changed`` hashes of :class:`Facts`."""
    facts = Facts(folder.name, META["base_model_sha256"], {domain: hash_of(domain)}, "v")
    nothing = {"entropy": np.zeros(len(nll)), "rank": np.ones(len(nll), int)}
    batch = token_batch(columns(), domain, nll=nll, **nothing)
    write_tokens(folder / TEST_TOKENS, [batch], facts._replace(**changed))


def write_training(
    folder: Path, nll: np.ndarray, reference: np.ndarray, cluster_of: np.ndarray = ALONE
) -> None:
    """Training tokens of a run: NLL [epochs, tokens] and that under θ0 [tokens]."""
    n = len(nll)
    epoch = np.repeat(np.arange(1, n + 1), nll.shape[1])
    facts = Facts(folder.name, META["base_model_sha256"], {"d": META["data_sha256"]}, "v")
    batch = token_batch(
        columns(n, cluster_of=cluster_of),
        "d",
        step=epoch,
        epoch=epoch,
        nll=nll.ravel(),
        reference_nll=np.tile(reference, n),
    )
    write_tokens(folder / TRAINING_TOKENS, [batch], facts)


def with_tokens(
    results: Results,
    folder: Path,
    base: np.ndarray,
    trained: Callable[[Mapping[str, Any]], np.ndarray],
) -> Results:
    """The study in files, with the tokens of its tests: NLL of θ0, and of each run."""
    found = written(results, folder)
    for run in rows_of(results.runs):
        nll = base if run["method"] == BASE else trained(run)
        write_test(folder / run["run"], nll)
    return found
