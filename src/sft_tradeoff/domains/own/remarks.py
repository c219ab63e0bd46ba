"""Warnings about a file that can be used; each is logged once."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from sft_tradeoff.domains.own.read import OwnData
from sft_tradeoff.system.text import listing

logger = logging.getLogger(__name__)
_LOST = re.compile("\ufffd")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_MARKUP = re.compile(
    r"<\|(?:im_start|im_end|endoftext|begin_of_text|start_header_id|eot_id|user|assistant|end)\|>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</s>|^### (?:Instruction|Response):",
    re.MULTILINE,
)


def _is_decoded_twice(text: str) -> bool:
    if text.isascii():
        return False
    try:
        return text.encode("cp1252").decode("utf-8") != text
    except UnicodeError:
        return False


_SIGNS: tuple[tuple[str, Callable[[str], object]], ...] = (
    ("U+FFFD, which replaces a character lost in an earlier conversion", _LOST.search),
    ("control characters, such as terminal colors (U+001B)", _CONTROL.search),
    ("UTF-8 text that was read as Windows-1252 (Ã© for é)", _is_decoded_twice),
    (
        "marks of a chat template ([INST], <|im_start|>), which every example gets anyway: remove "
        "them, unless they are meant as text",
        _MARKUP.search,
    ),
)


def tell(data: OwnData, remarks: Sequence[str] = ()) -> None:
    """Log remarks, keys that are not read, and signs of damage in a file's texts."""
    for remark in (*remarks, *_remarks(data)):
        logger.warning("warning: %s: %s", data.path, remark)


def _remarks(data: OwnData) -> Iterator[str]:
    unread = Counter(name for line in data.lines for name in line.unread)
    if unread:
        names = listing(f"{name} ({n})" for name, n in unread.most_common())
        yield f"keys that are not read, with the number of {data.noun}s: {names}"
    for what, is_sign in _SIGNS:
        found = [line.number for line in data.lines if any(map(is_sign, line.texts))]
        if found:
            yield f"{data.noun}s with {what}: {len(found)} ({data.noun} {found[0]} first)"
