"""Possible outcomes of an odd input, and what a good message looks like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

LONGEST = 2500  # characters of a message
# Control characters, marks that change the direction of writing, halves of surrogate pairs.
RAW = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
FIX = re.compile(
    r"\b(?:add|begin|change|check|choose|convert|copy|correct|decompress|delete|did you mean|"
    r"divide|download|export|extract|fetch|give|install|join|keep|lower|make|merge|"
    r"must be|name|needed|needs|pass|put|raise|remove|rename|replace|restore|run|save|set|shorten|"
    r"should be|should have|should match|spell|split|unpack|use|write)\b|line \d+: not valid YAML"
)
# What differs between faults of one cause: quoted texts, paths, places in a study, numbers.
_VARYING = re.compile(r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"|/\S+|\w+(?:\.[\w-]+)+|\d+")

Expected = Literal["accepted", "refused"] | None  # None: either


class Outcome(NamedTuple):
    """How one input ended.

    Args:
        kind: ``accepted``, ``refused`` with a clear message, or ``fault``.
        note: The message, or what is wrong.
    """

    kind: Literal["accepted", "refused", "fault"]
    note: str = ""


def fault(note: str) -> Outcome:
    """An outcome that no input may have."""
    return Outcome("fault", note)


def verdict(outcome: Outcome, expected: Expected) -> Outcome:
    """Compare an outcome with what the input must lead to."""
    if outcome.kind == "fault" or expected in (None, outcome.kind):
        return outcome
    return fault(f"{outcome.kind} wrongly: {outcome.note}")


def refusal(message: str, named: Sequence[str], expected: Expected) -> Outcome:
    """Judge a refusal and its message.

    Args:
        message: All that the user sees.
        named: Fields or files of which it has to name one.
        expected: Of the input.
    """
    if expected == "accepted":
        return verdict(Outcome("refused", message), expected)
    if len(message) > LONGEST:
        return fault(f"message of {len(message)} characters: {message[:300]}")
    if found := RAW.search(message):
        return fault(f"message with a raw U+{ord(found[0]):04X}: {message!r}")
    if not FIX.search(message):
        return fault(f"message without a fix: {message}")
    if not any(name in message for name in named):
        return fault(f"message does not name {' or '.join(named)}: {message}")
    return Outcome("refused", message)


def cause(note: str) -> str:
    """What faults of one cause have in common: the note without names, values and numbers."""
    lines = [line for line in note.splitlines() if line.strip()] or [""]
    line = lines[-1] if lines[0].startswith("Traceback") else " ".join(lines[:2])
    return _VARYING.sub("…", line)[:150]
