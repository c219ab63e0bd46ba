"""What an item of each kind of benchmark must hold, checked where it is written and before use.

The builder and the evaluation share this one definition: a file that was cut short, edited or made
by another version is refused before a model spends hours on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from sft_tradeoff.benchmarks.reading import BenchmarkError
from sft_tradeoff.files import check_seal

Item = dict[str, Any]
Kind = Literal["multiple_choice", "text", "generation"]

# Prompts for generation differ too much for common columns: each benchmark names its own.
COLUMNS: dict[Kind, dict[str, type]] = {
    "multiple_choice": {"question": str, "choices": list, "gold": int},
    "text": {"text": str},
    "generation": {},
}


def find_defect(item: Any, kind: Kind, columns: Sequence[str] = ()) -> str | None:
    """Say what makes one item unusable, None if nothing does.

    Args:
        item: One parsed line.
        kind: Of the benchmark.
        columns: Further ones that its prompt or its grading reads; none may be empty.
    """
    if not isinstance(item, dict):
        return f"{item!r} is not an object"
    types = {"id": str, **COLUMNS[kind]}
    for column in [*types, *columns]:
        if column not in item:
            return f"column {column!r} is missing"
        value, expected = item[column], types.get(column)
        if expected and type(value) is not expected:  # not isinstance: True is no index
            return f"{column!r} is {value!r}, not {expected.__name__}"
        if value in (None, [], {}) or (isinstance(value, str) and not value.strip()):
            return f"{column!r} is empty"
    return _find_choice_defect(item) if kind == "multiple_choice" else None


def _find_choice_defect(item: Item) -> str | None:
    choices, gold = item["choices"], item["gold"]
    if len(choices) < 2:
        return f"'choices' has {len(choices)}, at least 2 are needed"
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        return f"a choice of {choices!r} is empty or no text"
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
    """Return the items if each is sound and there is at least one.

    Args:
        items: Each with its place (file and line) for the message.
        name: Of the benchmark, for the message.
        kind: See :func:`find_defect`.
        columns: See :func:`find_defect`.
        fix: What the user should do about a defect.

    Raises:
        BenchmarkError: Naming benchmark, place, id, defect and fix.
    """
    first: dict[str, str] = {}
    checked = []
    for where, item in items:
        defect = find_defect(item, kind, columns)
        if defect is None and item["id"] in first:
            defect = f"the id is that of {first[item['id']]}"
        if defect:
            label = f" (id {item['id']!r})" if isinstance(item, dict) and "id" in item else ""
            raise BenchmarkError(f"{name}: {where}{label}: {defect}; {fix}")
        first[item["id"]] = where
        checked.append(item)
    if not checked:
        raise BenchmarkError(f"{name}: there are no items; {fix}")
    return checked


def load_items(path: Path, *, name: str, kind: Kind, columns: Sequence[str] = ()) -> list[Item]:
    """Read and check a benchmark's file; see :func:`check_items`.

    Raises:
        BenchmarkError: If the file is missing, damaged or holds an unusable item.
    """
    fix = f"delete {path} and run the same command again, which builds it anew"
    return check_items(_read(path, name, fix), name=name, kind=kind, columns=columns, fix=fix)


def _read(path: Path, name: str, fix: str) -> Iterator[tuple[str, Any]]:
    try:
        check_seal(path)
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                where = f"{path}, line {number}"
                try:
                    yield where, json.loads(line)
                except json.JSONDecodeError as error:
                    raise BenchmarkError(f"{name}: {where}: not JSON ({error}); {fix}") from None
    except FileNotFoundError:
        raise BenchmarkError(
            f"{name}: {path} is missing; run the study through Snakemake, which builds it, or "
            f"'python -m sft_tradeoff.benchmarks --name {name}' with the folder of its asset"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{name}: {path} cannot be read ({error}); {fix}") from error
