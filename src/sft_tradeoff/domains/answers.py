"""Reading answers out of generated text: shared by the domains, and never evaluated as code."""

from __future__ import annotations

import re

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


def _plain(text: str) -> str:
    return text.replace("$", "").strip(" \t*_`")
