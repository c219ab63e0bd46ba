"""A lower bound of a text's tokens, so that a huge text need not be tokenized to be refused."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MERGED = 4  # characters, at most, that a normal form merges into one
_SPACES = "".join(c for c in map(chr, range(0x3001)) if c.isspace())


def fewest_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """Number of tokens that a text has at least, from its length and the longest token.

    White space is not counted, because some tokenizers merge it. Other text is in the tokens, or
    the example is refused.
    """
    n_visible = len(text) - sum(map(text.count, _SPACES))
    return n_visible // (MERGED * _longest_token(tokenizer))


def beginning(tokenizer: PreTrainedTokenizerBase, text: str, n_tokens: int) -> str:
    """Return a text, or a part of it from its beginning that has more than ``n_tokens`` tokens."""
    if fewest_tokens(tokenizer, text) <= n_tokens:
        return text
    length = n_tokens
    while fewest_tokens(tokenizer, text[:length]) <= n_tokens:
        length *= 2
    return text[:length]


@functools.lru_cache(maxsize=16)
def _longest_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Characters of the longest token; in byte-level vocabularies a character is a byte."""
    return max(map(len, tokenizer.get_vocab()))
