"""Reading answers out of generated text: shared by the domains, and never evaluated as code."""

from __future__ import annotations

import math
import re

# A number that stands alone: "FIB-4", "m^2" and "CO2" hold none, "3-4" holds 3 and not -4.
_NUMBER = re.compile(
    r"(?<![\w.^\-])[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
)
_FINAL_ANSWER = re.compile(r"final answer[\s*_`]*:(.*)", re.IGNORECASE)


def normalise(text: str) -> str:
    """Fold case and white space, so that texts which read the same compare equal."""
    return " ".join(text.split()).casefold()


def final_answer(text: str) -> str | None:
    """What follows the last ``Final answer:`` of a text, without Markdown; None if there is none.

    The rest of the line counts, or the next line that is not empty where nothing follows on it.
    """
    matches = list(_FINAL_ANSWER.finditer(text))
    if not matches:
        return None
    answer = _plain(matches[-1].group(1))
    if not answer:
        lines = [_plain(line) for line in text[matches[-1].end() :].splitlines()]
        answer = next((line for line in lines if line), "")
    return answer.removesuffix(".").rstrip()


def last_number(text: str) -> float | None:
    """The last number that stands alone in a text, or None; infinite values count as none.

    Thousands separators, signs and exponents are read; words such as ``nan`` are not numbers.
    """
    matches = _NUMBER.findall(text.replace("−", "-"))
    if not matches:
        return None
    value = float(matches[-1].replace(",", ""))
    return value if math.isfinite(value) else None


def _plain(text: str) -> str:
    return text.replace("$", "").strip(" \t*_`")
