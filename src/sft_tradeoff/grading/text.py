"""Reading answers out of generated text: shared by the domains, and never evaluated as code."""

from __future__ import annotations

import re
import unicodedata

# Soft hyphens, spaces of no width and marks of the direction of writing, as ``str.translate`` takes
# them.
INVISIBLE = dict.fromkeys(
    map(
        ord,
        "\u00ad\u200b\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff",
    )
)
_FINAL_ANSWER = re.compile(r"final answer[\s*_`]*:(.*)", re.IGNORECASE)


def normalize(text: str) -> str:
    """Fold case, white space and normal form, so that texts which read the same compare equal.

    Letters with their accents composed or apart are the same text by Unicode (canonical caseless
    matching), and many tokenizers compose them; soft hyphens, spaces of no width and marks of the
    direction of writing are not seen.
    Compatibility forms stay apart, as folding them (NFKC) makes ``10²`` equal to ``102``.
    """
    folded = unicodedata.normalize("NFD", text.translate(INVISIBLE)).casefold()
    return " ".join(composed(folded).split())


def composed(text: str) -> str:
    """A text with every accent and its letter as one character, where there is one (NFC)."""
    return unicodedata.normalize("NFC", text)


def question_key(prompt: str, system: str | None = None) -> str:
    """Equal for prompts that read the same; under another system text it is another question."""
    return "\n".join(normalize(text) for text in (system, prompt) if text)


def final_answer(text: str) -> str | None:
    """What follows the last ``Final answer:`` of a text, without Markdown; None if there is none.

    The rest of the line counts, or the next line that is not empty where nothing follows on it.
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
