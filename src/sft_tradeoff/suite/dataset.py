"""Items as the data set of an lm-eval task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def in_memory(splits: Mapping[str, Rows]) -> Callable[..., dict[str, Any]]:
    """Return a value for the key ``custom_dataset`` of a task definition.

    A ``dataset_path`` would make ``datasets`` read the file a second time, through a cache that
    identifies it by path and modification time only: after the file was replaced, the model could
    still be asked the old items.

    Args:
        splits: Rows by name of the split.
    """

    def load(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {split: Dataset.from_list(_same_columns(rows)) for split, rows in splits.items()}

    return load


def _same_columns(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give every row all columns: ``Dataset.from_list`` keeps only those of the first row."""
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]
