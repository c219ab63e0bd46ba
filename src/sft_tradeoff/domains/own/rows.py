"""Turn the rows of a file into usable lines, or say why they cannot be used.

Nothing that changes the meaning of a row is ignored silently: it is read, or refused, or, if it is
probably a note (an id, a source), counted as not read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from sft_tradeoff.domains.base import SPLITS
from sft_tradeoff.domains.own.json_rows import Row, Table
from sft_tradeoff.domains.own.keys import (
    OR_COLUMNS,
    check_weight,
    refuse_beside_turns,
    refuse_unsupported,
    says,
)
from sft_tradeoff.domains.own.layouts import (
    NATIVE,
    Layout,
    named_layout,
    no_layout,
    recognize,
)
from sft_tradeoff.domains.own.lines import Line, Number, is_unseen, listed, text_of
from sft_tradeoff.domains.own.spec import Column
from sft_tradeoff.domains.own.turns import (
    ASSISTANT,
    SYSTEM,
    USER,
    Turn,
    check_order,
    check_weights,
    parsed,
    read_turns,
    unread_of,
)
from sft_tradeoff.system.text import shown

JOINT = "\n\n"
_GOLD = re.compile(r"[-+]?[$€£]?\d[\d.,/]*%?")


def read_rows(
    table: Table, columns: Mapping[Column, str]
) -> tuple[list[Line], list[tuple[int, str]], list[str]]:
    """Return the lines of a table, number and problem of its other rows, and what was read as what.

    Args:
        table: Its rows are consumed.
        columns: What is read -> key, as the user says; empty: recognized from the keys.

    Raises:
        ValueError: If no row has a known layout.
    """
    layouts = _Layouts(table, columns)
    lines, problems = [], list(table.problems)
    rows, table.rows = table.rows, []
    rows.reverse()
    while rows:
        number, row = rows.pop()
        try:
            line = to_line(number, row, layouts.of(row))
            lines.append(_with_split(line, table.splits.get(number)))
        except ValueError as error:
            problems.append((number, str(error)))
    told = [*table.told, *layouts.told()]
    if lines and not layouts.have_answers and all(_gold(line.response) for line in lines):
        lines = [replace(line, answer=_gold(line.response)) for line in lines]
        told.append("answers are what follows #### (as in GSM8K): grade them with METRIC=numeric")
    if lines and all(line.split == "train" for line in lines):
        lines = [replace(line, split=None) for line in lines]
        told.append(f"all {table.noun}s have 'split': 'train': they are divided, as if without it")
    return lines, sorted(problems, key=lambda problem: problem[0]), told


def _with_split(line: Line, split: str | None) -> Line:
    """The line in the split that its file or list is named after, if there is one."""
    if split is None or line.split == split:
        return line
    if line.split is not None:
        raise ValueError(
            f"'split' is {shown(line.split)}, but the rows stand under the name {shown(split)}; "
            "correct one of the two"
        )
    return replace(line, split=split)


def _gold(response: str) -> str:
    """The number at the end of a response of GSM8K, after ####; empty if there is none."""
    _, mark, number = response.rstrip().rpartition("\n####")
    return number.strip() if mark and _GOLD.fullmatch(number.strip()) else ""


class _Layouts:
    """The layouts of a file's rows, by their keys; a file may mix several.

    Args:
        table: All rows.
        columns: See :func:`read_rows`.

    Raises:
        ValueError: If no row has a known layout.
    """

    def __init__(self, table: Table, columns: Mapping[Column, str]) -> None:
        counts = Counter(_keys(row) for _, row in table.rows)
        self.by_keys: dict[tuple[str, ...], Layout | str | None]
        self.by_keys = {keys: _attempt(keys, columns) for keys in counts}
        if columns and counts:
            present = {key for keys in counts for key in keys}
            for what, key in columns.items():
                if key not in present:
                    raise ValueError(
                        f"columns: no row has the key {shown(key)} for {what!r} (keys: "
                        f"{listed(sorted(present))}); correct DATA_COLUMNS="
                    )
        known = [keys for keys, _ in counts.most_common() if isinstance(self.by_keys[keys], Layout)]
        self.main = self.by_keys[known[0]] if known else None
        if not known and counts:
            asked = next(filter(None, self.by_keys.values()), None)
            problem = asked or no_layout([row for _, row in table.rows])
            raise ValueError(f"{problem}{table.note}")

    def of(self, row: Row) -> Layout:
        found = self.by_keys[_keys(row)] or self.main
        if not isinstance(found, Layout):
            raise ValueError(found)
        return found

    @property
    def used(self) -> list[Layout]:
        return [found for found in self.by_keys.values() if isinstance(found, Layout)]

    @property
    def have_answers(self) -> bool:
        return any(layout.answer for layout in self.used)

    def told(self) -> list[str]:
        """What is read as what, unless it is read as named."""
        plain = {(NATIVE, "prompt"), ("chat messages", "messages")}
        return list(
            dict.fromkeys(
                layout.told()
                for layout in self.used
                if (layout.name, (*layout.prompt, layout.response)[0]) not in plain
            )
        )


def _keys(row: Row) -> tuple[str, ...]:
    """The keys of a row that have a value; null counts as absent."""
    return tuple(row) if None not in row.values() else tuple(k for k in row if row[k] is not None)


def _attempt(keys: tuple[str, ...], columns: Mapping[Column, str]) -> Layout | str | None:
    """The layout of these keys, or what to ask the user."""
    try:
        return named_layout(columns, keys) if columns else recognize(keys)
    except ValueError as error:
        return str(error)


def to_line(number: int, row: Row, layout: Layout) -> Line:
    """Read one row.

    Raises:
        ValueError: With the problem and the fix.
    """
    if layout.has_turns:
        refuse_beside_turns(row, layout.response, layout.refused)
    refuse_unsupported(row, layout.refused, OR_COLUMNS)
    check_weight(row, layout.weights, learned=True)
    if layout.label and str(row.get(layout.label)).strip().lower() == "false":
        raise ValueError("'label': false marks an unwanted response; remove the example")
    given = _system(row, layout)
    unread: tuple[str, ...] = ()
    history: tuple[Mapping[str, str], ...] = ()
    if layout.has_turns or layout.history or _has_chat(row, layout):
        turns = _turns(row, layout)
        check_order(turns, layout.response)
        check_weights(turns)
        unread = tuple(unread_of(turns))
        systems = [turn.text for turn in turns if turn.role == SYSTEM and turn.text]
        if given and systems:
            raise ValueError("give either 'system' or a turn of the role system, not both")
        given = given or next(iter(systems), None)
        *before, user, last = [turn for turn in turns if turn.role != SYSTEM]
        prompt, response = user.text, last.text
        history = tuple({"role": turn.role, "content": turn.text} for turn in before)
    else:
        prompt, response = _prompt(row, layout), text_of(row, layout.response)
        if layout.has_labels:
            _refuse_number(row, layout)
    answer, split = response.strip(), row.get(layout.split) if layout.split else None
    if layout.answer and row.get(layout.answer) is not None:
        answer = text_of(row, layout.answer).strip()
    if split not in (None, "") and split not in SPLITS:
        raise ValueError(f"split: {shown(split)} is unknown; use one of {', '.join(SPLITS)}")
    if layout.unread:
        unread = (*(shown(key) for key in layout.unread if says(row.get(key))), *unread)
    return Line(number, prompt, response, answer, split or None, given, unread, history)


def _system(row: Row, layout: Layout) -> str | None:
    """The system text of a row; None if it is empty."""
    found = [key for key in layout.system if row.get(key) is not None and not is_unseen(row[key])]
    if len(found) > 1:
        raise ValueError(f"give one system text, not {listed(found)}")
    return text_of(row, found[0]) if found else None


def _prompt(row: Row, layout: Layout) -> str:
    """The texts of the prompt's keys, joined by a blank line."""
    first, *others = layout.prompt
    if not others:
        return text_of(row, first)
    more = [key for key in others if row.get(key) is not None and not is_unseen(row[key])]
    return JOINT.join(text_of(row, key) for key in (first, *more))


def _has_chat(row: Row, layout: Layout) -> bool:
    """Whether prompt or response is a list of turns."""
    return _is_chat(row.get(layout.response)) or _is_chat(row.get(layout.prompt[0]))


def _is_chat(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _turns(row: Row, layout: Layout) -> list[Turn]:
    """All turns of a row: earlier ones, its prompt and its response."""
    value = row.get(layout.response)
    if value is None:
        text_of(row, layout.response)
    if layout.has_turns or _is_chat(value):
        last = read_turns(value, layout.response)
    else:
        last = [Turn(ASSISTANT, text_of(row, layout.response), {})]
    if not layout.prompt:
        return last
    asked = row.get(layout.prompt[0])
    if layout.has_turns and asked is None:
        return last
    if _is_chat(asked):
        first = read_turns(asked, layout.prompt[0])
    else:
        first = [*_history(row, layout), Turn(USER, _prompt(row, layout), {})]
    if all(turn.role == ASSISTANT for turn in last):
        return [*first, *last]
    talk = [turn for turn in last if turn.role != SYSTEM]
    told = [turn.text.strip() for turn in first if turn.role != SYSTEM]
    if [turn.text.strip() for turn in talk[: len(told)]] != told:
        raise ValueError(
            f"{shown(layout.response)} does not begin with {shown(layout.prompt[0])}; give either "
            f"of them, not both{OR_COLUMNS}"
        )
    return [*_systems(first, last), *talk]


def _systems(*lists: list[Turn]) -> list[Turn]:
    """The one system turn of several lists of turns that begin alike; none if all are empty."""
    found = [turn for turns in lists for turn in turns if turn.role == SYSTEM and turn.text]
    if len({turn.text.strip() for turn in found}) > 1:
        raise ValueError(f"give one system text, not {listed(turn.text for turn in found)}")
    return found[:1]


def _history(row: Row, layout: Layout) -> list[Turn]:
    """Earlier turns: pairs of texts, or turns with roles."""
    value = row.get(layout.history) if layout.history else None
    if not value:
        return []
    if isinstance(value, str) and not (value := parsed(value, str(layout.history))):
        return []
    if _is_chat(value):
        return read_turns(value, str(layout.history))
    is_pairs = isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 for pair in value
    )
    if not is_pairs:
        raise ValueError(
            f"{shown(layout.history)} must be a list of pairs [user's text, assistant's text]; "
            "correct or remove the example"
        )
    return read_turns([text for pair in value for text in pair], str(layout.history))


def _refuse_number(row: Row, layout: Layout) -> None:
    """Refuse the number of a class where its name should be learned."""
    value = str(row[layout.response])
    if isinstance(row[layout.response], Number) or value.strip().isdecimal():
        prompt = layout.prompt[0]
        raise ValueError(
            f"{shown(layout.response)} is a number; write the name of its class instead or, to "
            f'learn the number, give DATA_COLUMNS="prompt={prompt} response={layout.response}"'
        )
