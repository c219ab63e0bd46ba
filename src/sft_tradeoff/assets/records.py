"""Read the rows of fetched data sets: JSON Lines, CSV, JSON lists and Parquet.

Rows are read one batch or line at a time, with only the columns that are needed: ESCI has 2.6
million. Only a JSON list is read as a whole. A defect is reported with its file, row (the first is
1) and column.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sft_tradeoff.system.records import RecordError, parse_lines
from sft_tradeoff.system.text import listing

if TYPE_CHECKING:
    import pyarrow

FORMATS = (".parquet", ".csv", ".jsonl", ".json")
BATCH_ROWS = 8192
# Control characters other than line break and tab, and halves of characters beyond U+FFFF.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_REPAIR = "fetch its asset again, or correct your own files"


class Row(NamedTuple):
    """One row of a data set.

    Args:
        path: Its file.
        number: Within the file, from 1.
        values: By column.
    """

    path: Path
    number: int
    values: dict[str, Any]

    def text(self, column: str) -> str:
        """The text of a column, without control characters; a number counts as its text.

        Raises:
            RecordError: If it is empty or not a text.
        """
        value = self.values[column]
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            value = str(value)
        text = printable(value).strip() if isinstance(value, str) else ""
        if not text:
            raise self.error(column, f"is {value!r}, not a text")
        return text

    def error(self, column: str, problem: str) -> RecordError:
        """Error about one column of this row, e.g. ``'query' is None, not a text``."""
        return RecordError(f"{self.path}, row {self.number}: {column!r} {problem}; {_REPAIR}")


def printable(text: str) -> str:
    """A text with plain line breaks and without control characters."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def data_files(source: Path, split: str = "") -> list[Path]:
    """Files of a split: their names begin with it, or their folder has its name.

    Args:
        source: The asset's folder, or its one file.
        split: ``train`` or ``test``; empty for a data set of one split.

    Raises:
        RecordError: If there are none, or several versions of the data.
    """
    if source.is_file() and not split:
        return [source]
    paths = [
        path
        for path in sorted(source.rglob("*"))
        if path.suffix in FORMATS
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
        and (path.name.startswith(split) or path.relative_to(source).parent.name == split)
    ]
    if len({(path.parent, path.suffix) for path in paths}) != 1:
        found = listing((path.relative_to(source) for path in paths), limit=5)
        raise RecordError(
            f"{source}: the files of {f'split {split!r}' if split else 'the data set'} must be of "
            f"one format ({', '.join(FORMATS)}) and in one folder, named {split}* or in a folder "
            f"{split!r}; found: {found}; let the asset have only these files"
        )
    return paths


def read_rows(paths: Iterable[Path], columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of files of any of the :data:`FORMATS`, or of ``.jsonl.gz``.

    Args:
        paths: The files.
        columns: Columns that each row must have. Only these are read from a Parquet file; all of
            them if none is named.

    Raises:
        RecordError: If a file is missing or damaged, or lacks a column.
    """
    for path in paths:
        for number, record in _numbered(path, columns):
            _check_columns(f"{path}, row {number}", record, columns)
            yield Row(path, number, record)


def read_texts(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the values of a file's rows, unchanged; each of the columns must be a text.

    Raises:
        RecordError: If the file is missing or damaged, or a column is missing or not a text.
    """
    for row in read_rows([path], columns):
        for column in columns:
            if not isinstance(row.values[column], str):
                raise row.error(column, f"is {row.values[column]!r}, not a text")
        yield row.values


def _numbered(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """The rows of one file as they are, numbered from 1."""
    try:
        if path.suffix == ".parquet":
            batches = parquet_batches(path, columns)
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)
        elif path.suffix == ".csv":
            with open(path, encoding="utf-8", newline="") as text:
                yield from enumerate(csv.DictReader(text), start=1)
        elif path.suffix == ".json":
            yield from enumerate(_json_list(path), start=1)
        else:
            with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as lines:
                yield from parse_lines(lines, path, _REPAIR)
    except FileNotFoundError:
        raise RecordError(f"file not found: {path}; {_REPAIR}") from None
    except RecordError:
        raise
    except (OSError, EOFError, ValueError, RecursionError, csv.Error) as error:
        raise _damaged(path, error) from error


def _json_list(path: Path) -> list[Any]:
    """The values of a JSON list, which is read as a whole."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, list):
        raise RecordError(f"{path} is not a JSON list of records; {_REPAIR}")
    return values


def parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Yield some columns of a Parquet file, a few thousand rows at a time.

    Raises:
        RecordError: If a column is missing or the file is damaged.
    """
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            _check_columns(str(path), file.schema_arrow.names, columns)
            yield from file.iter_batches(BATCH_ROWS, columns=list(columns) or None)
    except RecordError:
        raise
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RecordError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return RecordError(f"{path} is damaged ({reason}); {_REPAIR}")


def _check_columns(where: str, present: Any, columns: Sequence[str]) -> None:
    if not isinstance(present, dict | list):
        raise RecordError(f"{where}: {present!r} is not an object; {_REPAIR}")
    if missing := [column for column in columns if column not in present]:
        raise RecordError(
            f"{where}: no column {', '.join(map(repr, missing))}, only "
            f"{', '.join(map(repr, present))}; this is another data set, or another version of it: "
            f"{_REPAIR}"
        )
