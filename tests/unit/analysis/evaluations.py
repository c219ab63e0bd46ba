"""Evaluations of θ0 and two runs, with every number computed by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd

RUNS = [
    ("m.base", "m", None, "base", "base", None, None),
    ("m.d.sft.lr1e-5.seed0", "m", "d", "sft", "plain", 1e-5, 0),
    ("m.e.sft.lr1e-5.seed0", "m", "e", "sft", "plain", 1e-5, 0),
]
Scores = dict[tuple[str, str], tuple[list[float], list[float]]]
SUITE_0: Scores = {
    ("piqa", "acc_norm"): ([1, 1, 1, 1], [1] * 4),
    ("piqa", "acc"): ([0, 0, 0, 0], [1] * 4),
    ("asdiv", "exact_match"): ([0, 0], [1] * 2),
    ("news", "bits_per_byte"): ([100, 200], [100, 200]),
    ("code", "bits_per_byte"): ([10, 50], [10, 10]),
}
SUITE: Scores = {
    ("piqa", "acc_norm"): ([1, 0, 1, 1], [1] * 4),
    ("piqa", "acc"): ([1, 1, 1, 1], [1] * 4),
    ("asdiv", "exact_match"): ([0, 1], [1] * 2),
    ("news", "bits_per_byte"): ([110, 220], [100, 200]),
    ("code", "bits_per_byte"): ([30, 50], [10, 10]),
}


def domain(label: str, accuracy: list[float], nll: list[float]) -> Scores:
    return {
        (label, "accuracy"): (accuracy, [1] * len(accuracy)),
        (label, "format_failure"): ([1, 0, 0, 0], [1] * 4),
        (label, "nll"): (nll, [2] * len(nll)),
        (label, "acc_norm"): ([0] * 9, [1] * 9),  # of a domain, so not in the general score
    }


BASE = domain("d", [0, 0, 0, 1], [4, 6]) | domain("e", [0, 0, 0, 0], [4, 4]) | SUITE_0
TUNED = domain("d", [1, 1, 0, 1], [1, 5]) | SUITE
TUNED_E = domain("e", [1, 1, 1, 1], [2, 2]) | SUITE_0


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(folder: Path, run: str, scores: Scores, **test_sha256: str | None) -> None:
    """Write an evaluation; the default checksum of a benchmark's items is that of its name."""
    rows = [
        (benchmark, str(item), metric, float(value), float(size))
        for (benchmark, metric), columns in scores.items()
        for item, (value, size) in enumerate(zip(*columns, strict=True))
    ]
    frame = pd.DataFrame(rows, columns=["benchmark", "item", "metric", "value", "size"])
    (folder / run).mkdir(parents=True, exist_ok=True)
    # Shuffled: items are paired by id, not by position.
    frame.sample(frac=1, random_state=len(run)).to_parquet(folder / run / "items.parquet")
    hashes = {name: hash_of(name) for name, _ in scores} | test_sha256
    known = {name: digest for name, digest in hashes.items() if digest is not None}
    record = {"meta_info": {"test_sha256": known}}
    (folder / run / "eval.json").write_text(json.dumps(record))
