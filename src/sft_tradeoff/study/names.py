"""Numbers as they are written in names and on command lines."""

from __future__ import annotations

from collections.abc import Mapping


def measures_text(numbers: Mapping[str, float] | str) -> str:
    """Numbers by measure as one text, ``bits_per_byte=0.01``, as a command line takes them."""
    if isinstance(numbers, str):
        return numbers
    return " ".join(f"{measure}={number}" for measure, number in numbers.items())


def format_learning_rate(value: float) -> str:
    """Shortest spelling of a learning rate in ten digits, for names: ``1e-05`` -> ``1e-5``."""
    mantissa, exponent = f"{value:.9e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
