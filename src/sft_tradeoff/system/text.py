"""Wording that messages of every stage share."""

from __future__ import annotations

import re
from collections.abc import Iterable

SHOWN = 80  # characters of a value that a message shows

# Control characters, except tab and newline; marks that reorder a line; halves of a character.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


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


def escaped(text: str) -> str:
    r"""Escape what would change a terminal or how the rest of the text is shown.

    Args:
        text: Of any origin: data, a model's file, a program's error.

    Returns:
        The text with control characters and the like as Python writes them, e.g. ``\x1b``;
        newlines, tabs and letters of all languages stay.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str, limit: int) -> str:
    """Leave out the middle of a text of more than ``limit`` characters, and say so."""
    if len(text) <= limit:
        return text
    end = limit // 3
    tail = text[len(text) - end :]
    return f"{text[: limit - end]} [{len(text) - limit} characters left out] {tail}"


def shown(value: object) -> str:
    """Show a value of a user's file: one short line without control characters.

    What YAML and JSON call null and true is not called None and True.
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
