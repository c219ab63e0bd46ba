"""Which lines of the user's file are not independent: those of one conversation or passage.

Several lines may be turns of one conversation, which then begin with the same message, or questions
about one passage, which then is the longest line of their first message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sft_tradeoff.domains.own.lines import Line
from sft_tradeoff.grading.text import text_id

SHORTEST_PASSAGE = 200  # characters; a shorter text that many lines share is an instruction
MOST_SHARED = 0.2  # share of the lines; a text in more of them is an instruction, however long


def shared_units(lines: Sequence[Line]) -> dict[int, str]:
    """Name the conversation or passage of every line that shares one with another line.

    Args:
        lines: All lines of the file.

    Returns:
        Number of the line -> name of its unit; lines that stand alone are left out.
    """
    first = [text_id(_first_message(line)) for line in lines]
    longest = [_longest_line(_first_message(line)) for line in lines]
    passage = [text_id(text) if len(text) >= SHORTEST_PASSAGE else "" for text in longest]
    n_lines = Counter(passage)
    unit = [
        text if text and 1 < n_lines[text] <= MOST_SHARED * len(lines) else own
        for text, own in zip(passage, first, strict=True)
    ]
    of_unit = Counter(unit)
    return {line.number: u for line, u in zip(lines, unit, strict=True) if of_unit[u] > 1}


def _first_message(line: Line) -> str:
    return line.history[0]["content"] if line.history else line.prompt


def _longest_line(text: str) -> str:
    return max(text.splitlines(), key=len, default="")
