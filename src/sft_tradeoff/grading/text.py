"""Normalize text and find the final answer in it. Text is never evaluated as code."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Literal

# Soft hyphens, zero-width spaces and direction marks, as a table for ``str.translate``.
INVISIBLE = dict.fromkeys(
    map(
        ord,
        "\u00ad\u200b\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff",
    )
)
_LONG = 10_000  # characters
_FINAL_ANSWER = re.compile(r"final answer[\s*_`]*:(.*)", re.IGNORECASE)


def normalize(text: str) -> str:
    """Fold case, white space and normal form, so that texts that read the same compare equal.

    Composed and decomposed accents are equal (Unicode's canonical caseless matching), since many
    tokenizers compose them. Soft hyphens, zero-width spaces and direction marks are dropped.
    Compatibility forms are kept: folding them (NFKC) would make ``10²`` equal to ``102``.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    folded = normal_form("NFD", text.translate(INVISIBLE)).casefold()
    return " ".join(composed(folded).split())


def composed(text: str) -> str:
    """Compose letters and accents into single characters where these exist (NFC)."""
    return normal_form("NFC", text)


def normal_form(form: Literal["NFC", "NFD", "NFKC"], text: str) -> str:
    """Return a text in a normal form of Unicode, in a time that is linear in its length.

    Python takes hours to sort a million combining marks that are not in their order, so those of a
    long text are sorted before.
    """
    if len(text) > _LONG and not text.isascii():
        runs = itertools.groupby(text, lambda c: unicodedata.combining(c) > 0)
        text = "".join(
            "".join(sorted(run, key=unicodedata.combining) if are_marks else run)
            for are_marks, run in runs
        )
    return unicodedata.normalize(form, text)


def text_id(text: str) -> str:
    """Short name of a text, equal for texts that read the same (:func:`normalize`)."""
    plain = normalize(text).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(plain, digest_size=8).hexdigest()


def question_key(
    prompt: str, system: str | None = None, history: Iterable[Mapping[str, str]] = ()
) -> str:
    """Key that is equal for prompts that read the same after the same system text and turns."""
    texts = (system, *(turn["content"] for turn in history), prompt)
    return "\n".join(normalize(text) for text in texts if text)


def final_answer(text: str) -> str | None:
    """Return what follows the last ``Final answer:``, without Markdown; None if it does not occur.

    This is the rest of the line or, if that is empty, the next non-empty line.
    """
    matches = list(_FINAL_ANSWER.finditer(text))
    if not matches:
        return None
    answer = _plain(matches[-1].group(1))
    if not answer:
        lines = [_plain(line) for line in text[matches[-1].end() :].splitlines()]
        answer = next((line for line in lines if line), "")
    return answer.removesuffix(".").rstrip()


def _plain(text: str) -> str:
    return text.replace("$", "").strip(" \t*_`")
