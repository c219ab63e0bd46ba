"""Read the user's file: its usable lines, and the problems of the others.

The file is parsed once; what `make own` asks of it (sizes, splits, remarks) works on the result.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sft_tradeoff.domains.own.kinds import other_kind
from sft_tradeoff.domains.own.lines import Line, parse_line
from sft_tradeoff.system.text import listing

MAX_LISTED = 20


@dataclass(frozen=True, eq=False)
class OwnData:
    """A file of the user.

    Args:
        path: The file.
        lines: All usable lines, in the file's order.
        problems: What is wrong with the others.
        noun: What the lines are: ``line``, ``row`` (of a table) or ``item`` (of a list).
    """

    path: Path
    lines: tuple[Line, ...]
    problems: tuple[str, ...]
    noun: str = "line"


def read_file(path: Path) -> OwnData:
    """Read a file, or return what was read from it before, unless it has changed since.

    Raises:
        ValueError: If it cannot be read, or is not a JSONL file.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return _read(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=1)
def _read(path: Path, time: int, size: int) -> OwnData:
    """Read a file; the time of its last change in nanoseconds and its size in bytes are keys."""
    try:
        raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise _unreadable(path, error) from None
    if kind := other_kind(path, raw):
        raise ValueError(report(path, [kind]))
    lines, problems = [], []
    for number, content in enumerate(raw.split(b"\n"), start=1):
        if content.strip():
            try:
                lines.append(parse_line(number, content))
            except ValueError as error:
                problems.append(f"line {number}: {error}")
    return OwnData(path, tuple(lines), tuple(problems))


def _unreadable(path: Path, error: OSError) -> ValueError:
    return ValueError(
        f"path: cannot read {str(path)!r}: {error.strerror}; give a JSONL file, with "
        "one JSON object per line"
    )


def report(path: Path, problems: Sequence[str]) -> str:
    """Message that lists the problems of a file, up to a readable number."""
    lines = listing(problems, MAX_LISTED, separator="\n  ")
    return f"path: {str(path)!r} cannot be used:\n  {lines}"
