"""Wording that messages of every stage share."""

from __future__ import annotations

from collections.abc import Iterable


def listing(values: Iterable[object], limit: int = 10, separator: str = ", ") -> str:
    """Name the first few of many values: ``a, b, c, and 7 more``.

    Args:
        values: What to name, each by its ``str``.
        limit: How many to name, ≥ 1.
        separator: Between two values.

    Returns:
        The text; ``none`` without values.
    """
    texts = [str(value) for value in values]
    rest = len(texts) - limit
    return separator.join([*texts[:limit], *[f"and {rest} more"] * (rest > 0)]) or "none"
