"""Read JSON Lines: one definition for the files of this project and for fetched data sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sft_tradeoff.system.console import UserError


class RecordError(UserError, ValueError):
    """A file of records is missing, damaged or not what was expected; says where and what."""


def parse_lines(lines: Iterable[str | bytes], path: Path, fix: str) -> Iterator[tuple[int, Any]]:
    """Yield the value of each line with the line's number, from 1.

    Args:
        lines: Of the file.
        path: The file, for messages.
        fix: What the user should do about a damaged file, for messages.

    Raises:
        RecordError: Naming file and line, if a line is not JSON.
    """
    for number, line in enumerate(lines, start=1):
        try:
            # As UTF-8 and nothing else: json would guess the encoding of bytes.
            yield number, json.loads(line.decode() if isinstance(line, bytes) else line)
        except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
            raise RecordError(f"{path}, line {number}: not JSON ({error}); {fix}") from None


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file that this project has written.

    Raises:
        RecordError: Naming file and line.
    """
    fix = f"delete {path} and run the same command again"
    with open(path, encoding="utf-8") as file:
        for number, value in parse_lines(file, path, fix):
            if not isinstance(value, dict):
                raise RecordError(f"{path}, line {number}: not an object; {fix}")
            yield value
