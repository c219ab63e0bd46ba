"""Recognize from the keys of a row which of the common layouts it has.

A layout says which keys hold the prompt, the response, and what else is read. Where the keys allow
two readings, nothing is chosen: the user names the columns.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sft_tradeoff.domains.own.keys import MARKS, UNSUPPORTED, WEIGHTS, name_of
from sft_tradeoff.domains.own.lines import listed
from sft_tradeoff.domains.own.spec import Column
from sft_tradeoff.system.text import shown

_TURNS_NAMES = {"data": "UltraChat", "messages": "chat messages"}
TURNS = ("messages", "conversations", "conversation")
SYSTEMS = ("system", "system_prompt", "system_message", "system_content")


@dataclass(frozen=True)
class Layout:
    """What the keys of a row mean.

    Args:
        name: For the log.
        prompt: Keys whose texts are joined with a blank line; only the first must have one.
        response: Key of the response, or of the turns of a conversation.
        has_turns: Whether ``response`` holds the whole conversation.
        system: Keys of the system text, of which one may have a value.
        history: Key of earlier turns.
        answer: Key of the gold answer.
        split: Key of the split.
        has_labels: Whether the response is the name of a class.
        label: Key that may mark an unwanted response.
        refused: Keys that must be empty, because they are not read.
        weights: Keys that weight the loss.
        unread: All others.
    """

    name: str
    prompt: tuple[str, ...]
    response: str
    has_turns: bool = False
    system: tuple[str, ...] = ()
    history: str | None = None
    answer: str | None = None
    split: str | None = None
    has_labels: bool = False
    label: str | None = None
    refused: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def told(self) -> str:
        """Say what is read as what: ``read as Alpaca: 'instruction' + 'input' → prompt, ...``."""
        parts = [f"{' + '.join(map(shown, self.prompt))} → prompt"] if self.prompt else []
        parts.append(f"{shown(self.response)} → {'turns' if self.has_turns else 'response'}")
        for name in ("history", "answer", "split"):
            if key := getattr(self, name):
                parts.append(f"{shown(key)} → {name}")
        parts += [f"{shown(key)} → system" for key in self.system]
        return f"read as {self.name}: {', '.join(parts)}"


class _Pair(NamedTuple):
    name: str
    prompt: tuple[str, ...]
    response: str

    @property
    def needed(self) -> frozenset[str]:
        return frozenset({self.prompt[0], self.response})

    @property
    def read(self) -> frozenset[str]:
        return frozenset({*self.prompt, self.response, "answer"})


NATIVE = "prompt and response"
_PAIRS = (
    _Pair(NATIVE, ("prompt",), "response"),
    _Pair("prompt and completion", ("prompt",), "completion"),
    _Pair("prompt and answer", ("prompt",), "answer"),
    _Pair("prompt and output", ("prompt",), "output"),
    _Pair("Alpaca", ("instruction", "input"), "output"),
    _Pair("Dolly", ("instruction", "context", "input"), "response"),
    _Pair("instruction and completion", ("instruction", "input"), "completion"),
    _Pair("instruction and answer", ("instruction", "input"), "answer"),
    _Pair("question and answer", ("question", "context"), "answer"),
    _Pair("question and response", ("question", "context"), "response"),
    _Pair("query and response", ("query", "context"), "response"),
    _Pair("query and answer", ("query", "context"), "answer"),
    _Pair("input and output", ("input",), "output"),
    _Pair("inputs and targets (FLAN)", ("inputs",), "targets"),
    _Pair("problem and solution", ("problem",), "solution"),
    _Pair("text and label", ("text",), "label"),
)
_PROMPTS = frozenset(["prompt", "instruction", "question", "query", "inputs", "problem"])
_RESPONSES = frozenset(["response", "completion", "output", "answer", "targets", "solution"])
_READ = frozenset({*TURNS, *SYSTEMS, "history", "answer", "split", "data"})
_KNOWN = frozenset(
    {
        *_READ,
        *WEIGHTS,
        *UNSUPPORTED,
        *MARKS,
        *(key for p in _PAIRS for key in (*p.prompt, p.response)),
    }
)


def recognize(keys: Iterable[str]) -> Layout | None:
    """Return the layout of a row with these keys, in any letter case; None if it has none.

    Raises:
        ValueError: If it could be read in several ways.
    """
    names: dict[str, str] = {}
    for key in keys:
        name = name_of(key) if key not in _KNOWN else key
        if name in _KNOWN and (other := names.setdefault(name, key)) != key:
            raise ValueError(f"the keys {listed((other, key))} differ only in case; remove one")
    turns = [name for name in TURNS if name in names]
    pairs = _pairs(names)
    if not turns and not pairs and "data" in names:
        turns = ["data"]
    if turns and pairs and pairs[0].name != NATIVE:
        pairs = []
    if len(turns) + len(pairs) > 1:
        readings = [*turns, *(f"{p.prompt[0]} and {p.response}" for p in pairs)]
        raise ValueError(_ask(f"could be read as {listed(readings)}", keys))
    if len(turns) == 1:
        if others := [names[name] for name in ("response", "completion") if name in names]:
            key, other = names[turns[0]], others[0]
            columns = f"prompt={shlex.quote(key)} response={shlex.quote(other)}"
            raise ValueError(
                f"{shown(other)} may be the response to {shown(key)}, or its last turn; choose "
                f'with DATA_COLUMNS="{columns}" or DATA_COLUMNS="messages={shlex.quote(key)}"'
            )
        asked = ("prompt",) if "prompt" in names else ()
        name = "UltraChat" if asked else _TURNS_NAMES.get(turns[0], "ShareGPT")
        return _layout(_Pair(name, asked, turns[0]), names, keys, has_turns=True)
    if not pairs:
        return None
    layout = _layout(pairs[0], names, keys)
    others = [k for k in layout.unread if name_of(k) in _PROMPTS | _RESPONSES]
    if others and layout.name != NATIVE:
        raise ValueError(_ask(f"{listed(others)} may be prompt or response, too", keys))
    return layout


def _pairs(names: Mapping[str, str]) -> list[_Pair]:
    """The pairs whose keys are there, without those of which another reads all keys and more."""
    found = [pair for pair in _PAIRS if pair.needed <= names.keys()]
    if found and found[0].name == NATIVE:
        return found[:1]
    return [
        p for p in found if not any(p.needed <= q.read and not q.needed <= p.read for q in found)
    ]


def _layout(
    pair: _Pair, names: Mapping[str, str], keys: Iterable[str], has_turns: bool = False
) -> Layout:
    prompt = tuple(names[name] for name in pair.prompt if name in names)
    system = tuple(names[name] for name in SYSTEMS if name in names)
    history = None if has_turns else names.get("history")
    answer = None if pair.response == "answer" else names.get("answer")
    split, response = names.get("split"), names[pair.response]
    read = {*prompt, response, *system, history, answer, split}
    rest = {key: name for name, key in names.items() if key not in read}
    return Layout(
        name=pair.name,
        prompt=prompt,
        response=response,
        has_turns=has_turns,
        system=system,
        history=history,
        answer=answer,
        split=split,
        has_labels=pair.response == "label",
        label=None if pair.response == "label" else names.get("label"),
        refused=tuple(key for key, name in rest.items() if name in UNSUPPORTED | MARKS.keys()),
        weights=tuple(sorted(k for k, n in rest.items() if n in WEIGHTS)),
        unread=tuple(k for k in keys if k not in read and rest.get(k) not in WEIGHTS),
    )


def named_layout(columns: Mapping[Column, str], keys: Iterable[str]) -> Layout:
    """The layout that the user's columns say; all other keys are not read.

    Args:
        columns: What is read -> key: ``prompt``, ``response``, ``messages``, ``system``,
            ``history``, ``answer``, ``split``.
        keys: Those of a row.
    """
    used = set(columns.values())
    return Layout(
        name="DATA_COLUMNS says",
        prompt=(columns["prompt"],) if "prompt" in columns else (),
        response=columns.get("messages") or columns["response"],
        has_turns="messages" in columns,
        system=(columns["system"],) if "system" in columns else (),
        history=columns.get("history"),
        answer=columns.get("answer"),
        split=columns.get("split"),
        unread=tuple(key for key in keys if key not in used),
    )


def _ask(what: str, keys: Iterable[str]) -> str:
    return f"{what} (keys: {listed(keys)}); choose with {example_of(keys)}"


def example_of(keys: Iterable[str]) -> str:
    """The option that names the columns, filled in as far as the keys allow."""
    by_name = {name_of(key): key for key in keys}
    found = [
        next((by_name[name] for name in by_name if name in known), "...")
        for known in (_PROMPTS, _RESPONSES)
    ]
    if len(by_name) == 2 and found == ["...", "..."]:
        found = list(by_name.values())
    prompt, response = map(shlex.quote, found)
    text = f'DATA_COLUMNS="prompt={prompt} response={response}"'
    has_blank = any(" " in key for key in by_name.values())
    return f"{text} (quote keys with a blank)" if has_blank and "'" not in text else text


def no_layout(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say that the rows of a file have no known layout, and what helps."""
    keys = list(dict.fromkeys(key for row in rows[:100] for key in row))
    row = rows[0]
    chosen = row.get("chosen")
    if isinstance(chosen, list) or (chosen is not None and "prompt" in row):
        is_whole = isinstance(chosen, list) and not _answers(chosen)
        columns = "messages=chosen" if is_whole else "prompt=prompt response=chosen"
        return (
            f'the rows compare responses; to learn the chosen ones, give DATA_COLUMNS="{columns}"'
        )
    whole = "chosen" if isinstance(chosen, str) else next(iter(row), "")
    if (len(keys) == 1 or chosen) and type(row.get(whole)) is str:
        return (
            f"each row is one text ({shown(whole)}), so prompt and response cannot be told "
            "apart; "
            "write 'prompt' and 'response', or the turns as 'messages'"
        )
    return (
        f"the keys are {listed(keys)}: no layout is known in which these are prompt and response; "
        f"name them with {example_of(keys)}, or write 'prompt' and 'response', or the "
        "turns of a conversation as 'messages'"
    )


def _answers(chosen: Sequence[Any]) -> bool:
    """Whether a chosen list of turns holds the answer alone, beside its prompt."""
    first = chosen[0] if chosen and isinstance(chosen[0], Mapping) else {}
    return str(first.get("role", first.get("from", ""))).lower() in ("assistant", "gpt")
