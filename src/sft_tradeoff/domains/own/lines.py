"""Read one line of the user's file, or say why it cannot be used.

Nothing that changes the meaning of a line is ignored silently: it is read, or refused, or, if it is
probably a note (an id, a source), counted as not read.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sft_tradeoff.domains.base import SPLITS
from sft_tradeoff.grading.text import normalize, question_key
from sft_tradeoff.system.text import listing

MEND = "correct or remove the line"
SHOWN = 40  # characters of the file that a message quotes
_READ = frozenset({"prompt", "response", "messages", "answer", "split", "system"})
_READ_OF_TURN = frozenset({"role", "content"})
_READ_OF_PART = frozenset({"type", "text"})
# Keys with which other tools weight or mask the loss.
_WEIGHT_KEYS = "weight weights sample_weight loss loss_weight train training trainable"
_WEIGHTS = frozenset(_WEIGHT_KEYS.split())
# Keys without which a line would teach something else.
_UNSUPPORTED_KEYS = """
tools tool_calls tool_call_id functions function_call
image images audio audios video videos
reasoning reasoning_content thinking thought thoughts
chosen rejected rejected_response rejected_messages
history mask loss_mask train_detail
context input instruction instructions passage document documents
system_prompt system_message system_content
"""
_UNSUPPORTED = frozenset(_UNSUPPORTED_KEYS.split())
# Keys that put a line into another split, or into none.
_MARKS = {
    **dict.fromkeys(("subset", "fold", "partition", "is_test", "is_train"), "'split'"),
    **dict.fromkeys(("skip", "ignore", "exclude", "excluded", "deleted"), "no line instead"),
}
_UNUSABLE = re.compile(r"[\x80-\x9f\ud800-\udfff]")
# What JSON makes of \frac, \boxed, \times, \right and \nabla with a single backslash.
_SWALLOWED = re.compile(
    "\x0c(?:rac(?=[\\d{ ])|orall\\b)|\x08(?:oxed|eta|egin|inom)"
    "|\t(?:imes|heta|frac(?=[\\d{])|ext(?:bf|it|rm)?(?={))|\r(?:ight|ho\\b)|\nabla\\b"
)
_UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})  # spaces, controls, zero-width characters


@dataclass(frozen=True, slots=True)
class Line:
    """One usable line.

    Args:
        number: Line number, from 1.
        prompt: The user's message.
        response: The text to learn.
        answer: The gold answer.
        split: The split given in the file, if any.
        system: Text of the system turn, if any.
        unread: Keys that are not read, as shown to the user.
        history: Earlier turns, each with ``role`` and ``content``.
    """

    number: int
    prompt: str
    response: str
    answer: str
    split: str | None
    system: str | None
    unread: tuple[str, ...]
    history: tuple[Mapping[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Key that is equal for lines with the same question."""
        return question_key(self.prompt, self.system, self.history)

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that the model reads or writes."""
        earlier = (turn["content"] for turn in self.history)
        return self.prompt, self.response, self.system or "", *earlier


class _Number(str):
    """A JSON number with its digits as written: 19.90 is kept, and no number is too large."""

    def __repr__(self) -> str:
        return str(self)


def parse_line(number: int, content: bytes) -> Line:
    """Read one line.

    Args:
        number: Line number, from 1.
        content: UTF-8.

    Raises:
        ValueError: With the problem and the fix.
    """
    data = _object(content)
    _refuse_misspelled(data, _READ | _WEIGHTS | _UNSUPPORTED)
    _refuse_unsupported(data)
    _check_weight(data, learned=True)
    if data.get("label") is False:
        raise ValueError("'label': false marks an unwanted response; remove the line")
    if "messages" in data:
        system, prompt, response = _from_messages(data)
    else:
        system, prompt, response = _system(data), _text(data, "prompt"), _text(data, "response")
    answer = _text(data, "answer").strip() if "answer" in data else response.strip()
    split = data.get("split")
    if split is not None and split not in SPLITS:
        raise ValueError(f"split: {shown(split)} is unknown; use one of {', '.join(SPLITS)}")
    return Line(number, prompt, response, answer, split, system, tuple(_unread(data)))


def shown(value: object) -> str:
    """Quote a value of the file in a message: one short line without control characters."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def listed(values: Iterable[object]) -> str:
    """The first few of several values of the file."""
    return listing(map(shown, values))


def _object(content: bytes) -> dict[str, Any]:
    text = content.decode("utf-8").removeprefix("\ufeff")  # marks of files joined with cat
    try:
        data = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_Number,
            parse_int=_Number,
            object_pairs_hook=_without_duplicates,
        )
    except json.JSONDecodeError as error:
        what = f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
        raise ValueError(f"not valid JSON: {what}; {MEND}") from None
    except RecursionError:
        raise ValueError(f"not valid JSON: nested too deeply; {MEND}") from None
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object, got {_kind(data)}; {MEND}")
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"not valid JSON: {name}; {MEND}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in data if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} appears twice in one object; keep one")
    return data


def _kind(value: object) -> str:
    """JSON's name for the type of a value."""
    if value is None:
        return "null"
    names = {dict: "object", list: "list", bool: "boolean", _Number: "number", str: "text"}
    return names[type(value)]


def _refuse_misspelled(data: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse a key that differs from a known one only in case and spaces."""
    for key in data:
        if data[key] and key not in known and (meant := normalize(key)) in known:
            raise ValueError(f"the key {shown(key)} is not read; write {meant!r}, or remove it")


def _refuse_unsupported(data: Mapping[str, Any]) -> None:
    for key in data:
        if key in _UNSUPPORTED and data[key]:
            raise ValueError(
                f"{key!r} is not supported, and without it the line would teach something else; "
                "remove the line, or the key if this is what you want"
            )
        if key in _MARKS and data[key]:
            raise ValueError(
                f"{key!r} is not read, and the line would be used anyway; write "
                f"{_MARKS[key]}, or remove the key"
            )


def _check_weight(data: Mapping[str, Any], learned: bool) -> None:
    """Refuse loss weights other than those used: 1 for the response, 0 for all before it."""
    for key in sorted(_WEIGHTS & data.keys()):
        value = data[key]
        number = float(value) if isinstance(value, _Number | bool) else value
        if number is None or number == float(learned):
            continue
        if learned and number == 0:
            what = "says that the response is not to be learned; remove the line, or the key"
        else:
            what = "is not supported: only the response is learned, with weight 1"
        raise ValueError(f"{key!r}: {shown(value)} {what}")


def _unread(data: Mapping[str, Any]) -> list[str]:
    """Keys that have a value and are not read; those of turns start with ``messages:``."""
    names = [shown(key) for key in data if _says(data[key]) and key not in _READ | _WEIGHTS]
    turns = data.get("messages") or []
    keys = dict.fromkeys(key for turn in turns for key in turn if _says(turn[key]))
    names += [f"messages: {shown(key)}" for key in keys if key not in _READ_OF_TURN | _WEIGHTS]
    keys = dict.fromkeys(key for turn in turns for part in _parts(turn) for key in part)
    names += [f"content: {shown(key)}" for key in keys if key not in _READ_OF_PART | _WEIGHTS]
    return names


def _says(value: object) -> bool:
    """False has a meaning (``is_correct``); null and empty values have none."""
    return value is False or bool(value)


def _parts(turn: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a turn whose content is a list."""
    content = turn.get("content")
    yield from (
        filter(lambda part: isinstance(part, dict), content) if isinstance(content, list) else ()
    )


def _from_messages(data: Mapping[str, Any]) -> tuple[str | None, str, str]:
    """System text, prompt and response of a chat with one user turn."""
    if "prompt" in data or "response" in data:
        raise ValueError("give either 'messages' or 'prompt' and 'response', not both")
    turns = data["messages"]
    if not (isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns)):
        raise ValueError("'messages' must be a list of objects with 'role' and 'content'")
    roles = [turn.get("role") for turn in turns]
    if roles[-1] != "assistant":
        raise ValueError(
            f"'messages' ends with the role {shown(roles[-1])}; the last turn must be the "
            "assistant's, which is learned"
        )
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise ValueError(
            f"'messages' has the roles {listed(roles)}; only [system,] user, assistant is "
            "supported: split a conversation of several turns into several lines"
        )
    for turn in turns:
        _refuse_misspelled(turn, _READ_OF_TURN | _WEIGHTS | _UNSUPPORTED)
        for part in (turn, *_parts(turn)):
            _refuse_unsupported(part)
            _check_weight(part, learned=turn is turns[-1])
    *before, user, assistant = map(_joined_parts, turns)
    systems = [_system(data), *(_system(turn, "content") for turn in before)]
    if all(systems) and len(systems) > 1:
        raise ValueError("give either 'system' or a turn of the role system, not both")
    system = next(filter(None, systems), None)
    return system, _text(user, "content"), _text(assistant, "content")


def _joined_parts(turn: Mapping[str, Any]) -> Mapping[str, Any]:
    """A turn with its parts of text joined into one text, as chat templates do."""
    parts = turn.get("content")
    if not isinstance(parts, list):
        return turn
    for part in parts:
        if not (isinstance(part, dict) and part.get("type") == "text"):
            kind = part.get("type") if isinstance(part, dict) else part
            raise ValueError(f"'content' has a part of type {shown(kind)}; only text is supported")
    return {**turn, "content": "".join(_text(part, "text") for part in parts)}


def _system(data: Mapping[str, Any], key: str = "system") -> str | None:
    """Text of a system turn; None if it is empty."""
    value = data.get(key)
    return None if value is None or _is_unseen(value) else _text(data, key)


def _text(data: Mapping[str, Any], key: str) -> str:
    """A visible text; a number is taken as written."""
    if key not in data:
        raise ValueError(f"{key!r} is missing (keys: {listed(data)}); add it, or use 'messages'")
    value = data[key]
    if not isinstance(value, str):
        raise ValueError(f"{key!r} must be a text, got {_kind(value)}; {MEND}")
    if _is_unseen(value):
        raise ValueError(f"{key!r} is empty; {MEND}")
    if swallowed := _SWALLOWED.search(value):
        raise ValueError(
            f"{key!r} contains {swallowed[0]!r}, LaTeX whose backslash JSON reads as an escape; "
            "write each backslash twice"
        )
    if found := _UNUSABLE.search(value):
        if found[0] >= "\ud800":
            raise ValueError(
                f"{key!r} contains half of a surrogate pair, which no file can store; {MEND}"
            )
        raise ValueError(
            f"{key!r} contains the control character U+{ord(found[0]):04X}: a file in "
            "Windows-1252 was converted as if it were Latin-1; convert the original with "
            "iconv -f CP1252 -t UTF-8, or remove the character"
        )
    return str(value)


def _is_unseen(value: object) -> bool:
    return isinstance(value, str) and all(unicodedata.category(c) in _UNSEEN for c in value)
