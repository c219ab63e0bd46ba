"""The single tokens of a study's runs, as claims see them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sft_tradeoff.analysis.claims.base import Untested
from sft_tradeoff.analysis.claims.pairs import Setting
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.claims.statistic import Counts, Statistic
from sft_tradeoff.analysis.token_records import (
    Recorded,
    paired,
    read_test_tokens,
    read_training_tokens,
)
from sft_tradeoff.stats.bootstrap import Clustered, resampled_weights

HOW = "set 'record_tokens: true' in the study"
BLOCK = 4_000_000  # numbers in memory at a time
Read = Callable[[Path], Recorded | None]


def has_tokens(results: Results, setting: Setting, read: Read) -> bool:
    """Whether any seed of a setting kept its tokens."""
    runs = setting.arm.rates[setting.rate].values()
    return results.folder is not None and any(read(results.folder / run) for run in runs)


def tokens_of(results: Results, run: str, read: Read) -> Recorded:
    """Tokens of one run.

    Raises:
        Untested: If it kept none, or an NLL is not finite.
    """
    found = read(results.folder / run) if results.folder else None
    if found is None:
        raise Untested(f"run {run} has kept no tokens; {HOW}")
    if n_broken := int((~np.isfinite(found.frame["nll"])).sum()):
        raise Untested(f"run {run}: the loss of {n_broken} tokens is not finite")
    return found


def training_tokens(results: Results, setting: Setting) -> list[pd.DataFrame]:
    """Training tokens of every seed of a setting; see :func:`tokens_of`."""
    runs = setting.arm.rates[setting.rate].values()
    return [tokens_of(results, run, read_training_tokens).frame for run in runs]


def changed_tokens(results: Results, setting: Setting) -> list[pd.DataFrame]:
    """The right answers of the setting's own domain under θ0 and after training, of every seed."""
    arm = setting.arm
    base = tokens_of(results, results.base_run(arm.model), read_test_tokens)
    found = []
    for run in arm.rates[setting.rate].values():
        both = paired(base, tokens_of(results, run, read_test_tokens))
        found.append(both[both["domain"].astype(str) == arm.domain])
    return found


def resampled(
    name: str,
    frames: Sequence[pd.DataFrame],
    of: Callable[[pd.DataFrame, np.ndarray], np.ndarray],
    domain: str,
    seeds: tuple[int, ...] | None,
) -> Statistic:
    """A statistic of tokens that is no ratio of sums, with the noise of examples and seeds.

    Args:
        name: What it is.
        frames: Tokens of each seed, the same in all.
        of: From tokens and weights [R, N], the statistic [R].
        domain: Of the examples.
        seeds: The seeds; None for θ0.

    Raises:
        Untested: If all examples belong to one unit.
    """
    codes, names = pd.factorize(frames[0]["cluster"])
    n = len(names)
    if n < 2:
        raise Untested(f"{domain}: its examples belong to one cluster, so nothing varies")
    weights = resampled_weights(n, np.random.default_rng(zlib.crc32(domain.encode())))
    columns, values = [], []
    for frame in frames:
        code = codes if frame is frames[0] else pd.Index(names).get_indexer(frame["cluster"])
        step = max(1, BLOCK // len(frame))
        starts = range(0, len(weights), step)
        columns.append(np.concatenate([of(frame, weights[i : i + step][:, code]) for i in starts]))
        values.append(float(of(frame, np.ones((1, len(frame))))[0]))
    counted = Clustered(np.zeros(len(codes)), np.ones(len(codes)), codes)
    n_examples = frames[0]["example"].nunique()
    return Statistic(
        name=name,
        value=float(np.mean(values)),
        over_items=np.stack(columns, axis=1),  # (R, S)
        over_seeds=np.array(values),
        seeds=seeds,
        on={(domain, "tokens"): Counts(n_examples, n, counted.df)},
    )
