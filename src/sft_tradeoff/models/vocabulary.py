"""The vocabulary of a tokenizer: its hash, and tokens as text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def vocabulary_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of all tokens and their numbers, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for token, number in sorted(tokenizer.get_vocab().items()):
        digest.update(f"{number}\0{token}\0".encode(errors="surrogatepass"))
    return digest.hexdigest()


def token_texts(tokenizer: PreTrainedTokenizerBase, tokens: Iterable[int]) -> list[str]:
    """Text of each token by itself; what is not a whole character becomes U+FFFD."""
    ids = [[int(token)] for token in tokens]
    return [str(tokenizer.decode(i, clean_up_tokenization_spaces=False)) for i in ids]
