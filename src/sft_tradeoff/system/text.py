"""Wording that messages of every stage share."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 80  # characters of a value that a message shows


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


def shown(value: object) -> str:
    """Show a value of a user's file: one short line without control characters.

    What YAML and JSON call null and true is not called None and True.
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
