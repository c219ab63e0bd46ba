"""Items that were read and checked, as the data set of an lm-eval task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def in_memory(splits: Mapping[str, Rows]) -> Callable[..., dict[str, Any]]:
    """Return what a task file calls ``custom_dataset``.

    A file named in the task file would be read again, through a cache that knows it by path and
    time only: another one put in its place would be asked from the old copy.

    Args:
        splits: Rows by name of the split.
    """

    def load(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {split: Dataset.from_list(_alike(rows)) for split, rows in splits.items()}

    return load


def _alike(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same columns: Dataset keeps those of the first row only."""
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]
