"""Proof, before anything is trained, that training, generation and grading mean one answer.

A model that repeats what it was taught has to stop where its answer ends, and to be graded as if it
had written the response of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from sft_tradeoff.chat import chat_format, decode_answer
from sft_tradeoff.domains.base import Score
from sft_tradeoff.models.tokenization import example_name
from sft_tradeoff.models.tokenized import TokenizationError, TokenizedData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

N_EXAMPLES = 1000  # of a split; the template treats all of them alike


def prove(
    tokenizer: PreTrainedTokenizerBase,
    ends: set[int],
    data: TokenizedData,
    records: Iterable[Mapping[str, Any]],
    score: Callable[[Mapping[str, Any], str], Score],
) -> int:
    """Let every example's learned tokens be generated, and grade them.

    Args:
        tokenizer: With the model's chat template.
        ends: Tokens that end a generation.
        data: The tokenized split.
        records: The examples that it was made of.
        score: The domain's rule.

    Returns:
        Number of examples that were proven; those whose end does not fit cannot be.

    Raises:
        TokenizationError: Naming the example.
    """
    chat = chat_format(tokenizer)
    ends = ends | {chat.end_of_turn}
    proven = 0
    for i, record in enumerate(islice(records, N_EXAMPLES)):
        if data.truncated[i]:
            continue
        ids, mask = data.example(i)
        learned = ids[mask].tolist()
        first_end = next((place for place, token in enumerate(learned) if token in ends), None)
        if first_end != len(learned) - 1:
            shown = tokenizer.decode(learned[-8:])
            raise TokenizationError(
                f"{example_name(record)}: what is learned does not end where a generation would "
                f"(...{shown!r}); correct eos_token_id in the model's generation_config.json, or "
                "its chat template"
            )
        answer = chat.answer(decode_answer(tokenizer, learned, chat.answer_mark))
        if score(record, answer).correct != score(record, record["response"]).correct:
            raise TokenizationError(
                f"{example_name(record)}: a model that repeats the response would not be graded as "
                f"the response is: its answer reads {answer[:200]!r}; give an 'answer' that is "
                "graded alike, or correct the chat template"
            )
        proven += 1
    return proven
