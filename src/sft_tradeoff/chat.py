"""How a tokenizer's chat template wraps prompts and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Texts that the tokenizer reads as control tokens, wherever they stand."""
    added = tokenizer.added_tokens_decoder.values()
    return [str(token.content) for token in added if token.special]
