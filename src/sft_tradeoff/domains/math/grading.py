"""How a number is read from a worked solution, for both math domains."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sft_tradeoff.grading.numbers import first_number, last_number


def read_number(marked: Sequence[str], text: str) -> Fraction | None:
    """The first number of the last marked piece that has one; else the last number of the text.

    Args:
        marked: What follows each mark, such as ``####``, on its line.
        text: The whole solution.
    """
    found = (first_number(piece) for piece in reversed(marked))
    first = next((value for value in found if value is not None), None)
    return last_number(text) if first is None else first
