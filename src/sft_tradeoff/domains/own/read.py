"""Read the user's data: its usable lines, and the problems of the others.

The data is read once; what `make own` asks of it (sizes, splits, remarks) works on the result.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sft_tradeoff.domains.own.files import data_files, state
from sft_tradeoff.domains.own.formats import read_table
from sft_tradeoff.domains.own.json_rows import Table
from sft_tradeoff.domains.own.lines import Line
from sft_tradeoff.domains.own.problems import group_by_problem
from sft_tradeoff.domains.own.rows import read_rows
from sft_tradeoff.domains.own.spec import Column
from sft_tradeoff.system.text import listing

logger = logging.getLogger(__name__)
MAX_LISTED = 20


@dataclass(frozen=True, eq=False)
class OwnData:
    """The data of the user.

    Args:
        path: The file or folder.
        lines: All usable lines, in the file's order.
        problems: What is wrong with the others.
        noun: What the lines are: ``line``, ``row`` (of a table) or ``item`` (of a list).
    """

    path: Path
    lines: tuple[Line, ...]
    problems: tuple[str, ...]
    noun: str = "line"


def read_file(path: Path, columns: Mapping[Column, str] | None = None) -> OwnData:
    """Read data, or return what was read before, unless it has changed since.

    Args:
        path: A file, or a folder of files.
        columns: What is read -> key; empty: recognized from the keys.

    Raises:
        ValueError: If it cannot be read, or has no rows of a known layout.
    """
    return _read(path, state(path), tuple(sorted((columns or {}).items())))


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Pause Python's search for cycles: reading makes none, and the search visits every row."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@functools.lru_cache(maxsize=1)
@_without_collection()
def _read(
    path: Path, files: tuple[tuple[str, int, int], ...], columns: tuple[tuple[Column, str], ...]
) -> OwnData:
    """Read data; path, time and size of its files are keys."""
    try:
        table = _table(path)
        lines, problems, told = read_rows(table, dict(columns))
    except OSError as error:
        raise ValueError(
            f"path: cannot read {str(path)!r}: {error.strerror}; give a file that can be read"
        ) from None
    except MemoryError:
        raise ValueError(f"path: {str(path)!r} is too large for this machine's memory") from None
    except ValueError as error:
        raise ValueError(report(path, [str(error)])) from None
    for what in told:
        logger.info("%s: %s", path, what)
    return OwnData(path, tuple(lines), tuple(group_by_problem(problems, table.noun)), table.noun)


def _table(path: Path) -> Table:
    """The rows of all files of a path, numbered through."""
    files = data_files(path)
    if not path.is_dir():
        return read_table(path)
    whole, last = Table("row"), 0
    for file, split in files:
        try:
            table = read_table(file)
        except ValueError as error:
            raise ValueError(f"{file.relative_to(path)}: {error}") from None
        begin, name = last, file.relative_to(path)
        whole.rows += [(begin + n, row) for n, row in table.rows]
        whole.problems += [(begin + n, f"{name}: {what}") for n, what in table.problems]
        numbers = [begin + n for n, _ in (*table.rows, *table.problems)]
        whole.splits |= dict.fromkeys(numbers, split) if split else {}
        last = max(numbers, default=last)
    return whole


def report(path: Path, problems: Sequence[str]) -> str:
    """Message that lists the problems of a file, up to a readable number."""
    lines = listing(problems, MAX_LISTED, separator="\n  ")
    return f"path: {str(path)!r} cannot be used:\n  {lines}"
