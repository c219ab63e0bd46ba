"""Warnings about a file that can be used; each is logged once."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from sft_tradeoff.domains.own.read import OwnData
from sft_tradeoff.system.text import listing

logger = logging.getLogger(__name__)
_AT_ONCE = 100  # lines that are searched as one text
_LOST = re.compile("\ufffd")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_FIRST_BYTE = re.compile("[\u00c2-\u00f4]")  # of a letter of several bytes in UTF-8
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


_Search = Callable[[str], object]
# A sign, what the text of several lines has if one of them has the sign, and the sign's own test.
_SIGNS: tuple[tuple[str, _Search, _Search], ...] = (
    (
        "U+FFFD, which replaces a character lost in an earlier conversion",
        _LOST.search,
        _LOST.search,
    ),
    (
        "control characters, such as terminal colors (U+001B)",
        _CONTROL.search,
        _CONTROL.search,
    ),
    (
        "UTF-8 text that was read as Windows-1252 (Ã© for é)",
        _FIRST_BYTE.search,
        _is_decoded_twice,
    ),
    (
        "marks of a chat template ([INST], <|im_start|>), which every example gets anyway: remove "
        "them, unless they are meant as text",
        _MARKUP.search,
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
    found: list[list[int]] = [[] for _ in _SIGNS]
    for start in range(0, len(data.lines), _AT_ONCE):
        block = data.lines[start : start + _AT_ONCE]
        text = "\n".join(text for line in block for text in line.texts)
        for numbers, (_, may_be, is_sign) in zip(found, _SIGNS, strict=True):
            if may_be(text):
                numbers += [line.number for line in block if any(map(is_sign, line.texts))]
    for numbers, (what, *_) in zip(found, _SIGNS, strict=True):
        if numbers:
            yield f"{data.noun}s with {what}: {len(numbers)} ({data.noun} {numbers[0]} first)"
