"""Read the turns of a conversation, in any of the usual spellings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sft_tradeoff.domains.own.json_rows import NotJsonError, parse
from sft_tradeoff.domains.own.keys import (
    NO_CALLS,
    UNSUPPORTED,
    WEIGHTS,
    check_weight,
    refuse_misspelled,
    refuse_unsupported,
    says,
)
from sft_tradeoff.domains.own.lines import MEND, Number, is_unseen, kind_of, listed, text_of
from sft_tradeoff.system.text import shown

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), USER),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai"), ASSISTANT),
    **dict.fromkeys(("system", "developer"), SYSTEM),
}
_SPELLINGS = (("role", "content"), ("from", "value"))
_READ = frozenset({"role", "content", "from", "value"})
_READ_OF_PART = frozenset({"type", "text"})
_KNOWN = _READ | WEIGHTS | UNSUPPORTED
_OTHERS = frozenset(["tool", "function", "function_call", "observation", "ipython"])


class Turn(NamedTuple):
    """One turn: its role and text, and the object it was read from if that holds more."""

    role: str
    text: str
    source: Mapping[str, Any]


def read_turns(value: Any, key: str) -> list[Turn]:
    """Return the turns of a list of objects with role and text, or of texts in turn.

    Args:
        value: The list, or its JSON text.
        key: Its key in the file, for messages.

    Raises:
        ValueError: With the problem and the fix.
    """
    if isinstance(value, str) and not isinstance(value, Number):
        value = parsed(value, key)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{shown(key)} must be a list of turns with 'role' and 'content'; {MEND}")
    if all(isinstance(turn, str) for turn in value):
        roles = (USER, ASSISTANT)
        named = [{"role": roles[i % 2], "content": text} for i, text in enumerate(value)]
        return [_turn(turn) for turn in named]
    for turn in value:
        if not isinstance(turn, dict):
            raise ValueError(
                f"{shown(key)} must be a list of objects with 'role' and 'content', got "
                f"{kind_of(turn)}; {MEND}"
            )
    if "role" not in value[0] and {"input", "output"} <= value[0].keys():
        return [turn for pair in value for turn in _exchange(pair)]
    return [_turn(turn) for turn in value]


def _exchange(pair: Mapping[str, Any]) -> Iterator[Turn]:
    """The turns of an object with both texts, as in Capybara and XTuner."""
    roles = {"system": SYSTEM, "input": USER, "output": ASSISTANT}
    others = {key: value for key, value in pair.items() if key not in roles}
    refuse_misspelled(others, _KNOWN)
    refuse_unsupported(others, others)
    for key, role in roles.items():
        if role != SYSTEM or not (pair.get(key) is None or is_unseen(pair[key])):
            yield Turn(role, text_of(pair, key), others if role == ASSISTANT else {})


def parsed(text: str, key: str) -> Any:
    """Read a list of turns from its JSON text, as it stands in a cell of a table.

    Raises:
        ValueError: If it is no JSON.
    """
    try:
        return parse(text)
    except NotJsonError:
        raise ValueError(
            f"{shown(key)} must be a list of turns with 'role' and 'content', got text; {MEND}"
        ) from None


def _turn(turn: Mapping[str, Any]) -> Turn:
    for role_key, text_key in _SPELLINGS:
        if turn.keys() == {role_key, text_key} and isinstance(turn[text_key], str):
            return _plain_turn(turn, role_key, text_key, {})
    refuse_misspelled(turn, _KNOWN)
    role_key = "role" if turn.get("role") is not None else "from"
    for part in (turn, *parts(turn)):
        refuse_unsupported(part, part)
    text_key = "content" if turn.get("content") is not None or "value" not in turn else "value"
    return _plain_turn(_joined_parts(turn, text_key), role_key, text_key, turn)


def _plain_turn(
    turn: Mapping[str, Any], role_key: str, text_key: str, source: Mapping[str, Any]
) -> Turn:
    """A turn with one text; that of a system turn may be empty."""
    role = _role(turn, role_key)
    if role == SYSTEM and (turn.get(text_key) is None or is_unseen(turn[text_key])):
        return Turn(role, "", source)
    return Turn(role, text_of(turn, text_key), source)


def _role(turn: Mapping[str, Any], key: str) -> str:
    name = turn.get(key)
    if isinstance(name, str) and name in ROLES:
        return ROLES[name]
    if name is None:
        raise ValueError(
            f"a turn has no 'role' (keys: {listed(turn)}); write 'system', 'user' or 'assistant'"
        )
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role:
        return role
    if isinstance(name, str) and name.lower() in _OTHERS:
        raise ValueError(f"a turn has the role {shown(name)}: {NO_CALLS}")
    raise ValueError(
        f"the role {shown(name)} is unknown; write 'system', 'user' or 'assistant' instead"
    )


def _joined_parts(turn: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A turn with its parts of text joined into one text, as chat templates do."""
    content = turn.get(key)
    if not isinstance(content, list):
        return turn
    for part in content:
        if not isinstance(part, dict):
            raise ValueError(
                f"{shown(key)} has the part {shown(part)}; write it as "
                '{"type": "text", "text": ...}, or all parts as one text'
            )
        if part.get("type", "text") != "text" or "text" not in part:
            raise ValueError(
                f"{shown(key)} has a part of type {shown(part.get('type'))}; only text is "
                "supported: remove the example, or the part if this is what you want"
            )
    return {**turn, key: "".join(text_of(part, "text") for part in content)}


def parts(turn: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a turn whose content is a list."""
    content = turn.get("content")
    if isinstance(content, list):
        yield from (part for part in content if isinstance(part, dict))


def check_order(turns: Sequence[Turn], key: str) -> None:
    """Refuse turns other than an optional system text, and user and assistant in turns.

    Raises:
        ValueError: With the problem and the fix.
    """
    roles = [turn.role for turn in turns]
    talk = roles[1:] if roles[:1] == [SYSTEM] else roles
    if talk == [USER, ASSISTANT] * (len(talk) // 2) and talk:
        return
    if not talk or talk[-1] != ASSISTANT:
        raise ValueError(
            f"{shown(key)} ends with the role {shown(roles[-1])}; the last turn must be the "
            "assistant's, which is learned: remove what follows it, or the line"
        )
    if SYSTEM in talk:
        raise ValueError(
            f"{shown(key)} has a system turn after the first turn; write one system text, as the "
            "first turn"
        )
    if talk[0] != USER:
        raise ValueError(
            f"{shown(key)} begins with the assistant; remove its first turn, or the line"
        )
    twice = next(one for one, other in itertools.pairwise(talk) if one == other)
    raise ValueError(f"{shown(key)} has two turns of the {twice} in a row; join them into one")


def check_weights(turns: Sequence[Turn]) -> None:
    """Refuse loss weights that are not 1 for the last turn and 0 before it."""
    for turn in filter(lambda turn: turn.source, turns):
        for part in (turn.source, *parts(turn.source)):
            check_weight(part, sorted(WEIGHTS & part.keys()), learned=turn is turns[-1])


def unread_of(turns: Sequence[Turn]) -> Iterator[str]:
    """Keys of turns and their parts that have a value and are not read."""
    sources = [turn.source for turn in turns if turn.source]
    keys = dict.fromkeys(key for turn in sources for key in turn if says(turn[key]))
    yield from (f"messages: {shown(key)}" for key in keys if key not in _READ | WEIGHTS)
    keys = dict.fromkeys(key for turn in sources for part in parts(turn) for key in part)
    yield from (f"content: {shown(key)}" for key in keys if key not in _READ_OF_PART | WEIGHTS)
