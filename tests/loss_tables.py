"""General losses made by hand: per-item scores of code length with a known loss at every rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from sft_tradeoff.analysis.evidence import Measured, Setting
from sft_tradeoff.analysis.run_records import Items

KEY = ("news", "bits_per_byte")
SUITE = {("m", "bits_per_byte"): {"news": 0}}
TOLERANCE = {"bits_per_byte": 0.01}


def frame(value: np.ndarray, per_cluster: int = 1) -> Items:
    """Items of one benchmark, each of size 1."""
    ids = [f"i{i:04}" for i in range(len(value))]
    cluster = [f"c{i // per_cluster:04}" for i in range(len(value))]
    columns = {"value": value, "size": 1.0, "cluster": cluster}
    return {KEY: pd.DataFrame(columns, index=ids)}


def measured_of(losses: Mapping[str, Mapping[float, np.ndarray]], per_cluster: int = 1) -> Measured:
    """Measured scores from losses of each item: label -> rate -> [seeds, items]."""
    n = next(iter(next(iter(losses.values())).values())).shape[1]
    base = np.linspace(0.8, 1.2, n)
    items: dict[Setting, list[Items]] = {("m", "d", "base", None): [frame(base, per_cluster)]}
    for label, of_rate in losses.items():
        for rate, loss in of_rate.items():
            items["m", "d", label, rate] = [frame(base + seed, per_cluster) for seed in loss]
    return Measured(items, SUITE, {})


def exact(mean: Callable[[float], float], rates: list[float], spread: float = 1e-6) -> Measured:
    """Losses of method ``sft`` that are known almost exactly: forty items, alternating."""
    sign = np.tile([1.0, -1.0], 20)
    return measured_of({"sft": {rate: (mean(rate) + spread * sign)[None] for rate in rates}})
