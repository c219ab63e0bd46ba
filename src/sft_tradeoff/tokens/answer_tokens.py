"""Which tokens of a response carry the answer that is graded.

Found by trying, with the domain's own grading and no knowledge of its format: a token is part of
the answer if another text in its place makes the grading read *another* answer. Tokens whose loss
only makes the answer unreadable, such as those of ``<answer>`` or ``Final answer:``, are the form.

Other texts are: other digits, none at all, and the answers of other examples in the place of this
one's. If the whole response is compared (``exact_match``), all of its tokens are the answer.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sft_tradeoff.chat import chat_format, decode_answer
from sft_tradeoff.domains.base import Score
from sft_tradeoff.models.tokenized import TokenizedData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Grading = Callable[[Mapping[str, Any], str], Score]
# Three are tried in the place of a number's digits: labels are often small numbers, and a month or
# a day does not begin with 7.
_DIGITS = "1207"
N_OTHERS = 3  # answers of other examples that are tried


def answer_tokens(
    tokenizer: PreTrainedTokenizerBase,
    data: TokenizedData,
    records: Sequence[Mapping[str, Any]],
    score: Grading,
    rows: Iterable[int],
) -> np.ndarray:
    """Find the tokens of some examples that carry the answer.

    Args:
        tokenizer: With the model's chat template.
        data: The tokenized split.
        records: The examples before tokenization, in the same order.
        score: The domain's grading.
        rows: The examples to look at; of truncated ones, what is left counts.

    Returns:
        [ΣT] bool, one per token of ``data.input_ids``; False in all other examples, in prompts, and
        where the answer has been truncated.
    """
    found = np.zeros(len(data.input_ids), dtype=bool)
    answers = list(dict.fromkeys(str(record["answer"]) for record in records))
    for row in rows:
        ids, mask = data.example(row)
        text, tokens = _spans(tokenizer, ids[mask].tolist())
        record, parsed = records[row], score(records[row], text).parsed
        if parsed is None:
            continue
        changed = [
            (start, end)
            for start, end, other in _changes(text, tokens, (record["answer"], parsed), answers)
            if score(record, text[:start] + other + text[end:]).parsed not in (None, parsed)
        ]
        inside = [any(a < end and start < b for start, end in changed) for a, b in tokens]
        found[data.offsets[row] + np.flatnonzero(mask)] = inside
    return found


class _Spans(NamedTuple):
    """The text of an answer, and the part of it that each of its tokens wrote.

    Args:
        text: As grading reads it.
        tokens: Start and end in ``text`` of each token; equal for those that wrote nothing in it.
    """

    text: str
    tokens: list[tuple[int, int]]


def _spans(tokenizer: PreTrainedTokenizerBase, learned: list[int]) -> _Spans:
    """Decode one more token at a time; characters of several tokens belong to their last one."""
    chat = chat_format(tokenizer)
    text = chat.answer(decode_answer(tokenizer, learned, chat.answer_mark))
    ends = [0] + [
        len(str(tokenizer.decode(learned[: n + 1], skip_special_tokens=True)))
        for n in range(len(learned))
    ]
    before = ends[-1] - len(text)  # what the template writes ahead of an answer
    places = np.clip(np.maximum.accumulate(ends) - before, 0, len(text)).tolist()
    return _Spans(text, list(itertools.pairwise(places)))


def _changes(
    text: str, tokens: list[tuple[int, int]], own: Iterable[str], answers: Sequence[str]
) -> Iterator[tuple[int, int, str]]:
    """Yield places in a text, and what to put there instead."""
    for start, end in tokens:
        piece = text[start:end]
        if piece.strip():
            yield start, end, ""
            renumbered = (re.sub(r"\d", digit, piece) for digit in _DIGITS)
            yield from ((start, end, other) for other in renumbered if other != piece)
    for answer in dict.fromkeys(map(str, own)):
        others = [other for other in answers if other != answer][:N_OTHERS]
        for place in re.finditer(re.escape(answer), text, re.IGNORECASE) if answer else ():
            yield from ((place.start(), place.end(), other) for other in others)
