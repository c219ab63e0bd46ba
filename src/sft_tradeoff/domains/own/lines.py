"""One usable line of the user's file, and the checks of a single text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sft_tradeoff.grading.text import question_key
from sft_tradeoff.system.text import listing, shown

MEND = "correct or remove the example"
_UNUSABLE = re.compile(r"[\x80-\x9f\ud800-\udfff]")
# What JSON makes of \frac, \boxed, \times, \right and \nabla with a single backslash.
_SWALLOWED = re.compile(
    "\x0c(?:rac(?=[\\d{ ])|orall\\b)|\x08(?:oxed|eta|egin|inom)"
    "|\t(?:imes|heta|frac(?=[\\d{])|ext(?:bf|it|rm)?(?={))|\r(?:ight|ho\\b)"
    "|\nabla(?= *[\\\\_^({$]| [A-Za-np-z]\\b)"
)
_UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})  # spaces, controls, zero-width characters


@dataclass(frozen=True, slots=True)
class Line:
    """One usable line.

    Args:
        number: Its place in the file, from 1: a line, or a row of a table or item of a list.
        prompt: The user's message.
        response: The text to learn.
        answer: The gold answer.
        split: The split given in the file, if any.
        system: Text of the system turn, if any.
        unread: Keys that are not read, as shown to the user.
        history: Earlier turns, each with ``role`` and ``content``.
    """

    number: int
    prompt: str
    response: str
    answer: str
    split: str | None
    system: str | None
    unread: tuple[str, ...]
    history: tuple[Mapping[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Key that is equal for lines with the same question."""
        return question_key(self.prompt, self.system, self.history)

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that the model reads or writes."""
        earlier = (turn["content"] for turn in self.history)
        return self.prompt, self.response, self.system or "", *earlier


class Number(str):
    """A number with its digits as written: 19.90 is kept, and no number is too large."""

    def __repr__(self) -> str:
        return str(self)


def listed(values: Iterable[object]) -> str:
    """The first few of several values of the file."""
    return listing(map(shown, values))


def kind_of(value: object) -> str:
    """JSON's name for the type of a value."""
    names = {dict: "object", list: "list", bool: "boolean", Number: "number", str: "text"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def text_of(data: Mapping[str, Any], key: str) -> str:
    """A visible text; a number is taken as written.

    Raises:
        ValueError: With the problem and the fix.
    """
    value = data.get(key)
    if value is None:
        what = "is null" if key in data else f"is missing (keys: {listed(data)})"
        raise ValueError(f"{shown(key)} {what}; add it, or remove the example")
    if not isinstance(value, str):
        raise ValueError(f"{shown(key)} must be a text, got {kind_of(value)}; {MEND}")
    if is_unseen(value):
        raise ValueError(f"{shown(key)} is empty; {MEND}")
    if swallowed := _SWALLOWED.search(value):
        raise ValueError(
            f"{shown(key)} contains {swallowed[0]!r}, LaTeX whose backslash JSON reads as an "
            "escape; write each backslash twice"
        )
    if found := _UNUSABLE.search(value):
        if found[0] >= "\ud800":
            raise ValueError(
                f"{shown(key)} contains half of a surrogate pair, which no file can store; {MEND}"
            )
        raise ValueError(
            f"{shown(key)} contains the control character U+{ord(found[0]):04X}: a file in "
            "Windows-1252 was converted as if it were Latin-1; convert the original with "
            "iconv -f CP1252 -t UTF-8, or remove the character"
        )
    return str(value)


def is_unseen(value: object) -> bool:
    """Whether a text has no visible character."""
    if not isinstance(value, str) or value[:1].isalnum():
        return False
    return all(unicodedata.category(c) in _UNSEEN for c in value)
