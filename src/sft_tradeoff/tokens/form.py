"""What is left of the loss once a model has learned the form of the responses.

Training first learns what all responses share: the tags around a label, the words of a template.
Then only what depends on the prompt is hard. An estimate of that state needs no training: the loss
of each response token under counts of the responses alone, without their prompts. A tag costs
nothing, and one of four equally frequent labels costs ln 4.

The counts are of a token after the :data:`CONTEXT` tokens before it, backed off to shorter contexts
by Witten and Bell's method (doi 10.1109/18.87000), and leave out the token's own occurrence:
otherwise every rare response would predict itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from sft_tradeoff.models.tokenized import TokenizedData

CONTEXT = 4  # tokens
START = -1  # stands before the first token of a response
MAX_EXAMPLES = 500  # whose responses are counted; more would change little


def form_nll(data: TokenizedData, vocabulary: int, rows: Sequence[int]) -> np.ndarray:
    """Loss of response tokens under the counts of all responses, without reading any prompt.

    Args:
        data: The tokenized split; its first :data:`MAX_EXAMPLES` responses and those of ``rows``
            are counted.
        vocabulary: Number of different tokens; a token without any context costs its logarithm.
        rows: The examples whose tokens are needed.

    Returns:
        [ΣT] float32 nats, one per token of ``data.input_ids``; NaN in all other examples and in
        prompts.
    """
    wanted = set(rows)
    counted = sorted(wanted.union(range(min(len(data), MAX_EXAMPLES))))
    responses = {row: ids[mask].tolist() for row in counted for ids, mask in [data.example(row)]}
    counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for response in responses.values():
        for context, token in _places(response):
            for length in range(CONTEXT + 1):
                counts[context[CONTEXT - length :]][token] += 1
    totals = {context: (found.total(), len(found)) for context, found in counts.items()}
    losses = np.full(len(data.input_ids), np.nan, dtype=np.float32)
    for row in wanted:
        places = data.offsets[row] + np.flatnonzero(data.example(row)[1])
        probabilities = [
            _probability(counts, totals, context, token, vocabulary)
            for context, token in _places(responses[row])
        ]
        losses[places] = -np.log(probabilities)
    return losses


def _places(response: list[int]) -> list[tuple[tuple[int, ...], int]]:
    """Every token of a response, with the tokens before it."""
    padded = [START] * CONTEXT + response
    return [(tuple(padded[n : n + CONTEXT]), token) for n, token in enumerate(response)]


def _probability(
    counts: dict[tuple[int, ...], Counter[int]],
    totals: dict[tuple[int, ...], tuple[int, int]],
    context: tuple[int, ...],
    token: int,
    vocabulary: int,
) -> float:
    """Interpolate from the empty context to the whole one, without this one occurrence."""
    probability = 1 / vocabulary
    for length in range(CONTEXT + 1):
        shorter = context[CONTEXT - length :]
        others = counts[shorter][token] - 1
        n, n_kinds = totals[shorter]
        n_kinds -= others == 0  # its only occurrence was this one
        if n > 1:
            probability = (others + n_kinds * probability) / (n - 1 + n_kinds)
    return probability
