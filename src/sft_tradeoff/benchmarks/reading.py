"""Read the material of a benchmark, naming file and line of anything unexpected."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sft_tradeoff.console import UserError


class BenchmarkError(UserError):
    """The material of a benchmark is missing or not in the known form."""


def read_records(path: Path, keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the records of a ``.jsonl`` or ``.jsonl.gz`` file.

    Args:
        path: The file.
        keys: Keys that each record must have, with text as value.

    Raises:
        BenchmarkError: If the file is missing or damaged, or a record lacks a key.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield _parse(line, f"{path}, line {number}", keys)
    except FileNotFoundError:
        raise BenchmarkError(f"{path} is missing; fetch its asset again") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path} is damaged ({error}); fetch its asset again") from error


def _parse(line: str, where: str, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"{where}: not JSON ({error}); fetch its asset again") from None
    for key in keys:
        if not isinstance(record.get(key), str):
            raise BenchmarkError(
                f"{where}: {key!r} is {record.get(key)!r}, not text; this file holds other data "
                "than the benchmark expects: check the asset's members"
            )
    return record
