"""Round-trip check, before anything is trained: tokens become the answer that is graded.

A model that repeats exactly what it learned must stop where its answer ends, and must be graded as
if it had written the response of the data. Otherwise training, generation and grading disagree
about what an answer is.
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

MAX_EXAMPLES = 1000  # per split; the template treats all examples the same way


def check_round_trip(
    tokenizer: PreTrainedTokenizerBase,
    ends: set[int],
    data: TokenizedData,
    records: Iterable[Mapping[str, Any]],
    score: Callable[[Mapping[str, Any], str], Score],
) -> int:
    """Decode and grade every example's learned tokens as if a model had generated them.

    Args:
        tokenizer: With the model's chat template.
        ends: Tokens that end a generation.
        data: The tokenized split.
        records: The examples before tokenization, in the same order.
        score: The domain's grading.

    Returns:
        Number of examples checked; those with truncated responses are skipped.

    Raises:
        TokenizationError: Naming the example.
    """
    chat = chat_format(tokenizer)
    ends = ends | {chat.end_of_turn}
    n_checked = 0
    for i, record in enumerate(islice(records, MAX_EXAMPLES)):
        if data.truncated[i]:
            continue
        ids, mask = data.example(i)
        learned = ids[mask].tolist()
        first_end = next((place for place, token in enumerate(learned) if token in ends), None)
        if first_end != len(learned) - 1:
            shown = tokenizer.decode(learned[-8:])
            raise TokenizationError(
                f"{example_name(record)}: the learned tokens do not end where a generation would "
                f"(...{shown!r}); correct eos_token_id in the model's generation_config.json, or "
                "its chat template"
            )
        answer = chat.answer(decode_answer(tokenizer, learned, chat.answer_mark))
        if score(record, answer).correct != score(record, record["response"]).correct:
            raise TokenizationError(
                f"{example_name(record)}: a model that repeats the response would be graded "
                f"differently from the response: its answer reads {answer[:200]!r}; give an "
                "'answer' that is graded the same, or correct the chat template"
            )
        n_checked += 1
    return n_checked
