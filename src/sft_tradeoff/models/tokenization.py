"""Tokenize one example, and mark the tokens of its response, which are learned.

The prompt is rendered and tokenized exactly as for generation; what the template renders after it,
up to the end of turn, is the response. So the response mask is exact by construction, and training
sees the same prompt tokens as evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.chat import (
    ChatTemplateError,
    Rendered,
    chat_format,
    control_token_pattern,
    render_turns,
    turns_of,
    where_they_part,
)
from sft_tradeoff.grading.text import normal_form
from sft_tradeoff.models.token_bound import beginning, fewest_tokens
from sft_tradeoff.models.tokenized import TokenizationError, TokenizedExample
from sft_tradeoff.models.tokenizer_template import template_fix, template_place

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize_example(
    tokenizer: PreTrainedTokenizerBase, record: dict[str, Any], max_length: int
) -> TokenizedExample:
    """Tokenize one JSONL record.

    If an example is too long, its response is truncated. The prompt never is, because an answer to
    half a question would teach something else.

    Args:
        tokenizer: With a chat template.
        record: With ``id``, ``prompt``, ``response`` and, if it has them, ``system`` and
            ``history``; only the response is learned.
        max_length: Largest number of tokens.

    Raises:
        TokenizationError: If no response token fits, a turn contains a control token, or the
            template does not render the conversation as prompt followed by response.
    """
    if not record["response"].strip():
        raise TokenizationError(
            f"{example_name(record)}: the response is empty; nothing can be learned"
        )
    record = record | {"response": beginning(tokenizer, record["response"], max_length)}
    try:
        rendered = render_turns(tokenizer, record)
        end = chat_format(tokenizer)
    except ChatTemplateError as error:
        fix = template_fix(template_place(Path(tokenizer.name_or_path)))
        raise TokenizationError(f"{example_name(record)}: {error}; {fix}") from error
    _refuse_control_tokens(tokenizer, record)
    if (n_tokens := fewest_tokens(tokenizer, rendered.prompt)) >= max_length:
        raise _too_long(record, f"at least {n_tokens}", max_length)
    prompt_ids = encode_rendered(tokenizer, rendered.prompt)
    response_ids = _continuation(tokenizer, rendered, prompt_ids)
    _refuse_lost_text(tokenizer, record, rendered, prompt_ids + response_ids)
    if not end.end_text:  # the template writes no end of turn, but the model must learn to stop
        response_ids.append(end.end_of_turn)
    answer_length = max_length - len(prompt_ids)
    if answer_length < 1:
        raise _too_long(record, str(len(prompt_ids)), max_length)
    kept = response_ids[:answer_length]
    return TokenizedExample(
        id=record["id"],
        input_ids=prompt_ids + kept,
        response_mask=[False] * len(prompt_ids) + [True] * len(kept),
        truncated=len(kept) < len(response_ids),
    )


def _too_long(record: Mapping[str, Any], n_tokens: str, max_length: int) -> TokenizationError:
    asked = "prompt and the turns before it have" if record.get("history") else "prompt has"
    return TokenizationError(
        f"{example_name(record)}: the {asked} {n_tokens} tokens, so no response fits "
        f"into training.max_length {max_length}; shorten or remove the example, or raise "
        "training.max_length and evaluation.max_length in the study file"
    )


def encode_rendered(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of text that a chat template rendered, in both training and evaluation.

    The template already contains all special tokens, so the tokenizer adds none, such as BOS.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def example_name(record: Mapping[str, Any]) -> str:
    """Describe an example so that a user can find it, by line if it is from their own file."""
    line = record.get("meta", {}).get("line")
    return f"example {record['id']!r}" + (f" (line or row {line} of your data)" if line else "")


def _refuse_control_tokens(tokenizer: PreTrainedTokenizerBase, record: dict[str, Any]) -> None:
    """Refuse control tokens in turns: a prompt could end the user's turn, an answer itself."""
    for turn in turns_of(record):
        found = control_token_pattern(tokenizer).search(turn.content)
        if found is not None:
            raise TokenizationError(
                f"{example_name(record)}: the {turn.name} contains {found[0]!r}, a control token "
                "of this model; remove it (the chat template writes the start and end of a turn)"
            )


def _refuse_lost_text(
    tokenizer: PreTrainedTokenizerBase, record: dict[str, Any], rendered: Rendered, ids: list[int]
) -> None:
    """Refuse text that the tokens cannot represent, so that it becomes <unk> or is lost."""
    if _letters(str(tokenizer.decode(ids))) == _letters("".join(rendered)):
        return
    for name, _, text in turns_of(record):
        read = str(tokenizer.decode(encode_rendered(tokenizer, text)))
        if _letters(read) != _letters(text):
            wanted, found = where_they_part(_letters(text), _letters(read))
            raise TokenizationError(
                f"{example_name(record)}: the model's tokenizer cannot represent the {name}: "
                f"{wanted!r} becomes {found!r}; change or remove it, or use another model"
            )


def _letters(text: str) -> str:
    """A text without what tokenizers may change: white space, case and Unicode normal form."""
    return "".join(normal_form("NFKC", text).casefold().split())


def _continuation(
    tokenizer: PreTrainedTokenizerBase, rendered: Rendered, prompt_ids: list[int]
) -> list[int]:
    """Tokens of the response as part of the whole conversation.

    Encoded alone it could start differently (SentencePiece adds a space before a word). It is
    encoded alone only if a token would span prompt and response, because the tokens of the prompt
    must not depend on what follows.
    """
    whole = encode_rendered(tokenizer, "".join(rendered))
    if whole[: len(prompt_ids)] == prompt_ids:
        return whole[len(prompt_ids) :]
    return encode_rendered(tokenizer, rendered.response)
