"""Names made from texts and numbers, in study files, paths and command lines."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from sft_tradeoff.system.text import shown
from sft_tradeoff.system.validation import closest

SAMPLED_TEXTS = "sampled_texts"  # in the results: texts of θ0, on which code lengths are compared
HASH_DIGITS = 8  # of a hash that is part of a name
_REPETITIVE = re.compile(r"(.+?)\1{9,}$")  # Snakemake refuses names that end in 20 repetitions


def measures_text(numbers: Mapping[Any, float] | str) -> str:
    """Return numbers by measure as a command-line value such as ``bits_per_byte=0.01``."""
    if isinstance(numbers, str):
        return numbers
    return " ".join(f"{measure}={number}" for measure, number in numbers.items())


def read_measures(value: Any, known: Collection[str]) -> Any:
    """Read text by :func:`parse_measures`; a mapping is left to the validation.

    Raises:
        ValueError: If it is neither, such as a number without its measure.
    """
    if isinstance(value, str):
        return parse_measures(value, known)
    if not isinstance(value, Mapping):
        example = f"{next(iter(known))}=0.01"
        raise ValueError(f"{shown(value)} is not measure=number; write e.g. {example}")
    return value


def parse_measures(text: str, known: Collection[str]) -> dict[str, float]:
    """Read ``measure=number ...``, as command lines and study files give it.

    Args:
        text: The setting; commas may separate its parts.
        known: Measures that it can name.

    Raises:
        ValueError: If a measure is unknown or given twice, or its number is not in [0, 1].
    """
    found: dict[str, float] = {}
    example = f"{next(iter(known))}=0.01"
    if re.search(r"\d,\d", text):
        raise ValueError(
            f"{shown(text)} has a comma between digits; write numbers with a point, e.g. {example}"
        )
    for part in text.replace(",", " ").split():
        name, _, number = part.partition("=")
        if name not in known:
            raise ValueError(
                f"{shown(part)} is not measure=number, e.g. {example}; {closest(name, known)}"
            )
        if name in found:
            raise ValueError(f"{name} is given twice; remove {shown(part)}")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if not 0 <= found[name] <= 1:
            raise ValueError(
                f"{shown(part)} is not a number from 0 to 1; give it in the measure's unit, an "
                "accuracy as a fraction (accuracy=0.01 is one point)"
            )
    return found


def format_learning_rate(value: float) -> str:
    """Return the shortest form of a learning rate, to ten digits: ``1e-05`` -> ``1e-5``."""
    mantissa, exponent = f"{value:.9e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def slug(text: str) -> str:
    """Turn a text into a part of a name."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:40].strip("-_")
    return _REPETITIVE.sub(r"\1", plain) or "unnamed"
