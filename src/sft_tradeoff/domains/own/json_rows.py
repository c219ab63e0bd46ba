"""Read the rows of JSON text: one object per line, objects over several lines, or a list."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json.decoder import WHITESPACE  # type: ignore[attr-defined]
from typing import Any

from sft_tradeoff.domains.own.lines import MEND, Number, kind_of, listed
from sft_tradeoff.system.text import shown

Row = dict[str, Any]
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


class NotJsonError(ValueError):
    """A line, or the whole text, is not JSON."""


@dataclass
class Table:
    """The rows of one file.

    Args:
        noun: What is numbered: ``line``, ``row`` or ``item``.
        rows: Number and row.
        problems: Number and problem of what is not a row.
        told: What the user should know about the reading.
        note: What to add if the rows have no known layout.
        splits: Number -> split, for rows of files or lists that are named after one.
    """

    noun: str = "line"
    rows: list[tuple[int, Row]] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    note: str = ""
    splits: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, value: object) -> None:
        """Add a row, or the problem of a value that is none."""
        if isinstance(value, dict):
            self.rows.append((number, value))
        else:
            self.problems.append((number, f"expected a JSON object, got {kind_of(value)}; {MEND}"))


def read_json(raw: bytes) -> Table:
    """Read JSON text in any of the usual shapes.

    Args:
        raw: UTF-8 whose first visible character is a bracket, or that has a line beginning so.

    Raises:
        NotJsonError: If it is no JSON at all.
        ValueError: If its one object has several lists of rows, or a key appears twice.
        UnicodeDecodeError: If it is not UTF-8.
    """
    first, *more = _head(raw)
    if not first.startswith(b"{") or not _is_object(first):
        try:
            return _from_values(raw.decode())
        except NotJsonError:
            if not any(line.startswith(b"{") and _is_object(line) for line in _lines(raw)):
                raise
    elif not more:
        return _from_values(raw.decode())
    return _from_lines(raw)


def _lines(raw: bytes) -> Iterator[bytes]:
    """Lines that end as in Unix, Windows, or old Mac files."""
    if b"\n" not in raw and b"\r" in raw:
        yield from raw.split(b"\r")
    else:
        yield from io.BytesIO(raw)


def _head(raw: bytes) -> list[bytes]:
    """The first two lines that are not blank."""
    found = [b""]
    for line in _lines(raw):
        if line.strip():
            found.append(line.strip())
            if len(found) > 2:
                break
    return found[1:] or found


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parse(line.decode()), dict)
    except UnicodeDecodeError:
        raise
    except ValueError:
        return False


def _from_lines(raw: bytes) -> Table:
    table, broken = Table(), []
    for number, line in enumerate(_lines(raw), start=1):
        if line.strip():
            try:
                # Marks of files joined with cat.
                table.add(number, parse(line.decode().rstrip("\r\n").removeprefix("\ufeff")))
            except UnicodeDecodeError:
                raise
            except NotJsonError as error:
                broken.append((number, str(error)))
            except ValueError as error:
                table.problems.append((number, str(error)))
    if len({problem for _, problem in broken}) > 1:
        number, first = broken[0]
        what = f"{first.removesuffix(f'; {MEND}')} (on line {number}); correct or remove the lines"
        broken = [(number, what) for number, _ in broken]
    table.problems = sorted(table.problems + broken)
    return table


def _from_values(text: str) -> Table:
    """Objects over several lines, a list, or one object that holds a list."""
    table, end, number = Table(), WHITESPACE.match(text, 0).end(), 1
    values: list[tuple[int, int, Any]] = []
    while end < len(text):
        number += text.count("\n", values[-1][1] if values else 0, end)
        try:
            value, after = _DECODER.raw_decode(text, end)
        except json.JSONDecodeError as error:
            place = f"at line {error.lineno} character {error.colno}"
            if values and text[error.pos : error.pos + 1] == ",":
                fix = "objects are separated by commas; remove these, or put [ and ] around all"
                raise NotJsonError(f"not valid JSON: {place} {fix}") from None
            fix = "correct it there, or get the file again"
            what = error.msg.removesuffix(" at")
            raise NotJsonError(f"not valid JSON: {what} {place}; {fix}") from None
        except RecursionError:
            raise NotJsonError(
                f"line {number}: not valid JSON: nested too deeply; {MEND}"
            ) from None
        except ValueError as error:
            raise ValueError(f"near line {number}: {error}") from None
        values.append((number, end, value))
        end = WHITESPACE.match(text, after).end()
    if len(values) == 1:
        return _from_value(values[0][2])
    for number, _, value in values:
        table.add(number, value)
    return table


def _from_value(value: Any) -> Table:
    """The items of a list, or of the lists in one object."""
    lists = _lists_of(value)
    table, names = Table("item"), [SPLIT_NAMES.get(name.lower()) for name in lists]
    if len(lists) > 1 and not all(names):
        raise ValueError(
            f"the file is one object with several lists ({listed(lists)}); write the one to use "
            "into a file of its own"
        )
    if unread := [key for key in value if lists.keys() != {""} and key not in lists]:
        table.told.append(f"read from {listed(lists)}; not read: {listed(unread)}")
    number = 0
    for name, items in zip(names, lists.values(), strict=True):
        for number, item in enumerate(items, start=number + 1):  # noqa: B020
            table.add(number, item)
            if len(lists) > 1:
                table.splits[number] = str(name)
    return table


def _lists_of(value: Any) -> Mapping[str, Sequence[Any]]:
    """The lists of rows in a value; the value itself counts as a row."""
    if isinstance(value, list):
        return {"": value}
    if not isinstance(value, dict):
        return {"": [value]}
    columns = list(value.values())
    if len(columns) > 1 and all(isinstance(column, dict) for column in columns):  # by pandas
        columns = [list(column.values()) for column in columns]
    if found := {key: value[key] for key in value if _holds_rows(value[key])}:
        return found
    lengths = {len(column) if isinstance(column, list) else -1 for column in columns}
    if len(columns) > 1 and len(lengths) == 1 and -1 not in lengths:
        return {"": [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]}
    return {"": [value]}


def _holds_rows(value: object) -> bool:
    """Whether a value is a list of objects that are not the turns of one conversation."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and not first.keys() & {"role", "from"}


def parse(text: str) -> Any:
    """Read one JSON value, strictly; numbers keep their digits.

    Raises:
        NotJsonError: If it is none.
        ValueError: If a key appears twice in one object.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        what = f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
        if error.msg == "Extra data" and text[error.pos : error.pos + 1] == ",":
            what = f"a comma follows the object at character {error.pos + 1}; remove it"
        raise NotJsonError(f"not valid JSON: {what}; {MEND}") from None
    except RecursionError:
        raise NotJsonError(f"not valid JSON: nested too deeply; {MEND}") from None


def _refuse_constant(name: str) -> None:
    raise NotJsonError(f"not valid JSON: {name}; {MEND}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> Row:
    data = {sys.intern(key): value for key, value in pairs}
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in data if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} appears twice in one object; keep one")
    return data


# One for all lines: making it takes longer than reading a line.
_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant,
    parse_float=Number,
    parse_int=Number,
    object_pairs_hook=_without_duplicates,
)
