"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], n_left: int | None = None
) -> str:
    """Lay out a GitHub-flavored table, padded so that it can also be read as text.

    Args:
        header: Column titles.
        rows: Cells, printed as they are; a shorter row ends in empty cells.
        n_left: Number of left-aligned columns, the others are right-aligned; None: all.
    """
    n_left = len(header) if n_left is None else n_left
    align = ["left"] * n_left + ["right"] * (len(header) - n_left)
    filled = [[*row, *[""] * (len(header) - len(row))] for row in rows]
    return tabulate(filled, header, tablefmt="pipe", colalign=align, disable_numparse=True)
