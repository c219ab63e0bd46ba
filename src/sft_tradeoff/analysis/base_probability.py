"""How well θ0 knows the training data: its mean probability of the responses' tokens.

The stage that computes θ0's statistics writes it, ``reference/<model>/<domain>.json`` among a
study's results. Losses that trust the model are said to gain where it is high (arXiv 2510.00526).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from sft_tradeoff.system.files import atomic_write_json, damaged, read_json

KEY = "mean_probability"


def summary_path(runs: Path, model: str, domain: str) -> Path:
    """File of one model and domain, beside the folder of a study's runs."""
    return runs.parent / "reference" / model / f"{domain}.json"


def write_summary(path: Path, nll: np.ndarray) -> None:
    """Write the mean probability of tokens.

    Args:
        path: The file.
        nll: θ0's losses of all supervised tokens, [N] nats.
    """
    mean = float(np.exp(-nll.astype(np.float64)).mean())
    atomic_write_json(path, {KEY: mean, "n_tokens": len(nll)}, checksum=True)


def base_probability(runs: Path, model: str, domain: str) -> float:
    """Read the mean probability, between 0 and 1; NaN if it was not measured.

    Raises:
        DamagedFileError: If the file was changed, or does not hold such a number.
    """
    path = summary_path(runs, model, domain)
    if not path.is_file():
        return math.nan
    content = read_json(path)
    value = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise damaged(path, f"{KEY} is {value!r}, not a number from 0 to 1")
    return value
