"""Keys that are not texts: what they change if they are not read, and what is refused."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from sft_tradeoff.grading.text import normalize
from sft_tradeoff.system.text import listing, shown

# Keys with which other tools weight or mask the loss.
_WEIGHT_KEYS = "weight weights sample_weight loss loss_weight train training trainable"
WEIGHTS = frozenset(_WEIGHT_KEYS.split())
# Keys without which a line would teach something else.
_UNSUPPORTED_KEYS = """
image images audio audios video videos
reasoning reasoning_content thinking thought thoughts
history mask loss_mask train_detail
system_prompt system_message system_content
choices options
"""
TOOLS = frozenset(["tools", "tool_calls", "tool_call_id", "functions", "function_call"])
# Texts of a prompt or a response, which a conversation may hold again.
_TEXT_KEYS = """
chosen rejected rejected_response rejected_messages
context input instruction instructions passage document documents
"""
_TEXTS = frozenset(_TEXT_KEYS.split())
UNSUPPORTED = frozenset(_UNSUPPORTED_KEYS.split()) | TOOLS | _TEXTS
NO_CALLS = (
    "function calls cannot be learned as such; instead, write the tools into the system text, "
    "the calls into the assistant's text and the results into the user's, or remove the example"
)
# Keys that put a line into another split, or into none.
MARKS = {
    **dict.fromkeys(("subset", "fold", "partition", "is_test", "is_train"), "'split'"),
    **dict.fromkeys(("skip", "ignore", "exclude", "excluded", "deleted"), "no line instead"),
}
OR_COLUMNS = ", or name the keys to read with DATA_COLUMNS="
_NOTHING = frozenset({"", "none", "null", "nan", "[]", "{}"})
_NO = _NOTHING | {"0", "0.0", "false", "no"}


@functools.lru_cache(maxsize=4096)
def name_of(key: str) -> str:
    """A key without letter case, and blanks or a byte order mark around it."""
    bare = key.strip(" \ufeff")
    return normalize(bare) if bare.isprintable() else key


def refuse_misspelled(data: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse a key that differs from a known one only in case and spaces."""
    for key in data:
        if data[key] and key not in known and (meant := name_of(key)) in known:
            raise ValueError(f"the key {shown(key)} is not read; write {meant!r}, or remove it")


def refuse_unsupported(data: Mapping[str, Any], keys: Iterable[str], fix: str = "") -> None:
    """Refuse keys without which the line would teach something else.

    Args:
        data: The object.
        keys: Those of its keys to check.
        fix: What else would help.
    """
    for key in keys:
        name, value = name_of(key), data.get(key)
        if name in TOOLS and is_set(value, _NOTHING):
            raise ValueError(f"{shown(key)}: {NO_CALLS}")
        if name in UNSUPPORTED and is_set(value, _NOTHING):
            raise ValueError(
                f"{shown(key)} is not supported, and without it the line would teach something "
                f"else; remove the example, or the key if this is what you want{fix}"
            )
        if name in MARKS and is_set(value, _NO):
            raise ValueError(
                f"{shown(key)} is not read, and the line would be used anyway; write "
                f"{MARKS[name]}, or remove the key{fix}"
            )


def refuse_beside_turns(data: Mapping[str, Any], turns: str, keys: Iterable[str]) -> None:
    """Refuse texts beside a conversation, of which it is not clear what they are to it.

    Args:
        data: The row.
        turns: Its key of the conversation.
        keys: Those of its keys to check.
    """
    texts = [key for key in keys if name_of(key) in _TEXTS and is_set(data.get(key), _NOTHING)]
    if texts:
        raise ValueError(
            f"the row has {shown(turns)} and also {listing(map(shown, texts))}; to read the turns "
            f'alone, give DATA_COLUMNS="messages={shlex.quote(turns)}"'
        )


def is_set(value: object, nothing: Iterable[str] = _NO) -> bool:
    """Whether a value is more than one of the ways to write none or false."""
    return value.strip().lower() not in nothing if isinstance(value, str) else bool(value)


def check_weight(data: Mapping[str, Any], keys: Iterable[str], learned: bool) -> None:
    """Refuse loss weights other than those used: 1 for the response, 0 for all before it."""
    for key in keys:
        number = _number(data.get(key))
        if number is None or number == float(learned):
            continue
        if learned and number == 0:
            what = "says that the response is not to be learned; remove the example, or the key"
            raise ValueError(f"{shown(key)}: {shown(data[key])} {what}")
        raise ValueError(
            f"{shown(key)}: {shown(data[key])} is not supported: only the last response is "
            f"learned, with weight 1; write {int(learned)}, or remove the key or the line"
        )


def _number(value: Any) -> Any:
    """A weight as a number, also from the text of a table's cell; None if it is empty."""
    if isinstance(value, str) and not value.strip():
        return None
    try:
        return float({"true": 1, "false": 0}.get(str(value).lower(), value))
    except (TypeError, ValueError):
        return value


def says(value: object) -> bool:
    """False has a meaning (``is_correct``); null and empty values have none."""
    return value is False or bool(value)
