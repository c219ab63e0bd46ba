"""Chat template and response mask: which tokens are learned.

The prompt is rendered and tokenized exactly as at generation time; what the template renders after
it, up to the end of turn, is the response. So the mask is exact by construction, and training sees
the same prompt tokens as evaluation.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sft_tradeoff.chat import (
    ChatTemplateError,
    Turns,
    chat_format,
    control_token_pattern,
    render_turns,
    where_they_part,
)
from sft_tradeoff.models.tokenized import TokenizationError, TokenizedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize_example(
    tokenizer: PreTrainedTokenizerBase, record: dict[str, Any], max_length: int
) -> TokenizedExample:
    """Tokenize one JSONL record.

    An example that is too long loses the *end* of its response; the prompt is never cut, because
    an answer to half a question teaches something else.

    Args:
        tokenizer: With a chat template.
        record: With ``id``, ``prompt`` and ``response``, and ``system`` if it has a system turn.
        max_length: Largest number of tokens.

    Raises:
        TokenizationError: If no response token fits, a turn contains a control token, or the
            template does not render the conversation as prompt followed by response.
    """
    if not record["response"].strip():
        raise TokenizationError(
            f"{example_name(record)}: the response is empty; nothing can be learned"
        )
    try:
        turns = render_turns(tokenizer, record)
        end = chat_format(tokenizer)
    except ChatTemplateError as error:
        raise TokenizationError(f"{example_name(record)}: {error}") from error
    _refuse_control_tokens(tokenizer, record)
    prompt_ids = encode_rendered(tokenizer, turns.prompt)
    response_ids = _continuation(tokenizer, turns, prompt_ids)
    _refuse_lost_text(tokenizer, record, turns, prompt_ids + response_ids)
    if not end.end_text:  # the model must learn to stop all the same
        response_ids.append(end.end_of_turn)
    room = max_length - len(prompt_ids)
    if room < 1:
        raise TokenizationError(
            f"{example_name(record)}: the prompt has {len(prompt_ids)} tokens and leaves no room "
            f"for a response within training.max_length {max_length}; shorten it or leave it out, "
            "or raise training.max_length and evaluation.max_length in the study file"
        )
    kept = response_ids[:room]
    return TokenizedExample(
        id=record["id"],
        input_ids=prompt_ids + kept,
        response_mask=[False] * len(prompt_ids) + [True] * len(kept),
        truncated=len(kept) < len(response_ids),
    )


def encode_rendered(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of what a chat template rendered, in training and evaluation alike.

    The template writes the special tokens that it wants; a BOS that the tokenizer would add before
    others is not among them.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def example_name(record: Mapping[str, Any]) -> str:
    """An example as the user can find it: one of a file of theirs by its line."""
    line = record.get("meta", {}).get("line")
    return f"example {record['id']!r}" + (f" (line {line} of your data file)" if line else "")


def _refuse_control_tokens(tokenizer: PreTrainedTokenizerBase, record: dict[str, Any]) -> None:
    """A prompt could end the user's turn, and an answer with an end of its own is never right."""
    for key in ("system", "prompt", "response"):
        found = control_token_pattern(tokenizer).search(record.get(key) or "")
        if found is not None:
            raise TokenizationError(
                f"{example_name(record)}: the {key} contains {found[0]!r}, a control token of this "
                "model; remove it (the chat template writes what begins and ends a turn)"
            )


def _refuse_lost_text(
    tokenizer: PreTrainedTokenizerBase, record: dict[str, Any], turns: Turns, ids: list[int]
) -> None:
    """Refuse text that the tokens do not hold: without bytes, what is unknown is <unk> or lost."""
    if _letters(str(tokenizer.decode(ids))) == _letters(turns.prompt + turns.response):
        return
    for key in ("system", "prompt", "response"):
        text = record.get(key) or ""
        read = str(tokenizer.decode(encode_rendered(tokenizer, text)))
        if _letters(read) != _letters(text):
            wanted, found = where_they_part(_letters(text), _letters(read))
            raise TokenizationError(
                f"{example_name(record)}: the model's tokenizer does not know all of the {key}: "
                f"{wanted!r} becomes {found!r}; change or remove it, or use another model"
            )


def _letters(text: str) -> str:
    """A text without what tokenizers may well change: white space, case and normal form."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _continuation(
    tokenizer: PreTrainedTokenizerBase, turns: Turns, prompt_ids: list[int]
) -> list[int]:
    """Tokens of the response as they stand in the whole conversation.

    Alone it could begin otherwise (a word of SentencePiece with a space). Only where a token would
    span both is it encoded alone: a prompt has the same tokens whatever follows.
    """
    whole = encode_rendered(tokenizer, turns.prompt + turns.response)
    if whole[: len(prompt_ids)] == prompt_ids:
        return whole[len(prompt_ids) :]
    return encode_rendered(tokenizer, turns.response)
