"""Possible outcomes of a fault."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """How one provoked fault ended.

    Args:
        kind: ``recovered``: the next run gave the undisturbed result, bit for bit. ``refused``:
            one clear error came first, and following it gave that result. ``failed``: neither.
        note: What went wrong.
    """

    kind: str
    note: str = ""


RECOVERED = Outcome("recovered")
REFUSED = Outcome("refused")


def failed(note: str) -> Outcome:
    """Neither recovered from nor refused clearly."""
    return Outcome("failed", note)
