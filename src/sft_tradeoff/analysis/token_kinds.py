"""What a response token is before any model sees it: its text, place and kind.

Kinds are ``digits`` (the text holds a digit), ``template`` (words that many responses share) and
``content`` (all others). A token is of the template if it is part of three successive tokens that
occur in at least a tenth of the responses of its split, where all digits count as equal and the
ends of a response count as tokens. The first and the last token need no such neighbors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_tradeoff.models.vocabulary import token_texts

if TYPE_CHECKING:
    from sft_tradeoff.models.tokenized import TokenizedData

DIGITS, TEMPLATE, CONTENT = KINDS = ("digits", "template", "content")
SHARED = 0.1  # of the responses; and at least two
_DIGIT, _END = -1, -2  # stand for any digits, and for what is not in the response


class Describer:
    """Describes the response tokens of one split.

    Args:
        data: The tokenized split.
        tokenizer: Gives the tokens' texts.
        names: [n] names of the examples; None: their numbers.
    """

    def __init__(
        self, data: TokenizedData, tokenizer: Any, names: Sequence[str] | None = None
    ) -> None:
        self.data = data
        self.names = np.array(names if names is not None else [str(i) for i in range(len(data))])
        self._ids, which = np.unique(data.input_ids[data.response_mask], return_inverse=True)
        texts = token_texts(tokenizer, self._ids)
        self._texts = np.array(texts, dtype=object)
        digit = np.array([any(c.isdigit() for c in text) for text in texts], dtype=bool)
        self._kind = np.full(len(data.input_ids), -1, dtype=np.int8)
        self._kind[data.response_mask] = _kinds(data, digit[which])

    def columns(self, position: np.ndarray) -> dict[str, Any]:
        """Example, its cluster, place, token, text and kind of some response tokens.

        Args:
            position: [N] indices in ``input_ids``.

        Returns:
            Columns [N]; ``place`` counts from 0 at the response's first token.
        """
        row = np.searchsorted(self.data.offsets, position, side="right") - 1
        before = np.concatenate([[0], np.cumsum(self.data.response_mask)])
        token = self.data.input_ids[position]
        return {
            "example": self.names[row].astype(object),
            "cluster": self.data.cluster[row],
            "place": (before[position] - before[self.data.offsets[row]]).astype(np.int32),
            "token": token.astype(np.int32),
            "text": self._texts[np.searchsorted(self._ids, token)],
            "kind": np.array(KINDS, dtype=object)[self._kind[position]],
        }


def _kinds(data: TokenizedData, digit: np.ndarray) -> np.ndarray:
    """Indices in :data:`KINDS` [N] of all response tokens, given which hold digits [N]."""
    mask = data.response_mask
    example = np.repeat(np.arange(len(data)), data.lengths)[mask]  # (N,)
    token = np.where(digit, _DIGIT, data.input_ids[mask])
    first = np.append(True, example[1:] != example[:-1])[: len(token)]
    last = np.append(example[1:] != example[:-1], True)[: len(token)]
    before = np.where(first, _END, np.roll(token, 1))
    after = np.where(last, _END, np.roll(token, -1))
    least = max(2, math.ceil(SHARED * len(np.unique(example))))
    shared = _is_shared(np.stack([before, token, after]), example, least)  # around each token
    template = shared | (~first & np.roll(shared, 1)) | (~last & np.roll(shared, -1))
    for end in (first, last):
        template[end] |= _is_shared(token[None, end], example[end], least)
    return np.select([digit, template], [0, 1], 2).astype(np.int8)


def _is_shared(context: np.ndarray, example: np.ndarray, least: int) -> np.ndarray:
    """Whether each context, a column of [k, N], occurs in at least so many examples: [N]."""
    number = np.unique(context, axis=1, return_inverse=True)[1].ravel()  # (N,)
    pairs = np.unique(np.stack([number, example]), axis=1)  # (2, ≤N), each example once
    shared: np.ndarray = np.bincount(pairs[0], minlength=1)[number] >= least
    return shared
