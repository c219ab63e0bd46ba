"""What is known of single tokens after scoring, and keeping it in ``tokens.parquet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from sft_tradeoff.analysis.token_kinds import Describer
from sft_tradeoff.analysis.token_records import Facts, token_batch, write_tokens
from sft_tradeoff.models.vocabulary import vocabulary_sha256

if TYPE_CHECKING:
    import torch

    from sft_tradeoff.evaluation.tasks import Task
    from sft_tradeoff.models.tokenized import TokenizedData
    from sft_tradeoff.study.runs import EvaluationConfig
    from sft_tradeoff.suite.items import ItemFile


class TokenScores(NamedTuple):
    """Scores of N labels, on the CPU.

    Args:
        log_likelihood: [N] float64 nats.
        hit: [N] bool, whether the label is the greedy choice.
        entropy: [N] float32 nats over the whole vocabulary; empty if not asked for.
        rank: [N] int64, 1 for the likeliest token; ties share the best rank; likewise.
    """

    log_likelihood: torch.Tensor
    hit: torch.Tensor
    entropy: torch.Tensor
    rank: torch.Tensor

    def rows(self, which: torch.Tensor) -> TokenScores:
        """Scores of some labels, by index or mask."""
        return TokenScores(*(t[which] if len(t) else t for t in self))


def entropy_and_rank(
    logits: torch.Tensor, place: torch.Tensor, label: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Entropy [N] float32 nats of the predictions of labels, and the labels' ranks [N] int64.

    Args:
        logits: [P, V] float32.
        place: [N] row of ``logits`` for each label.
        label: [N] tokens.
    """
    log_p = logits.log_softmax(-1)  # (P, V)
    # 0·ln 0 is 0, where the product with −∞ is NaN.
    entropy = -(log_p.exp() * log_p.clamp_(min=-1e30)).sum(-1)  # (P,)
    # From the logits: subtracting the normalizer rounds, which can make close values equal.
    rank = 1 + (logits[place] > logits[place, label][:, None]).sum(-1)  # (N,)
    return entropy[place], rank


class KeptTokens:
    """The tokens of the right answers of an evaluation's domains, until they are written.

    Args:
        config: The evaluation.
        tests: Test examples of each of its domains, as text and tokenized.
    """

    def __init__(
        self, config: EvaluationConfig, tests: Sequence[tuple[ItemFile, TokenizedData]]
    ) -> None:
        labels = [str(domain.label) for domain in config.domains]
        self.run, self.tests = config.run, dict(zip(labels, tests, strict=True))
        self.scores: dict[str, list[TokenScores]] = {}

    def __call__(self, task: Task, scores: list[TokenScores]) -> None:
        """Keep the scores of each example's response, in the order of the examples."""
        self.scores[task.label] = scores

    def write(self, path: Path, meta: Mapping[str, Any], tokenizer: Any) -> None:
        """Write ``tokens.parquet``.

        Args:
            path: The file.
            meta: ``meta_info`` of the evaluation's record: hashes of θ0 and of the examples.
            tokenizer: Of the model that was scored.
        """
        hashes = {label: meta["test_sha256"][label] for label in self.tests}
        vocabulary = vocabulary_sha256(tokenizer)
        facts = Facts(self.run, meta["base_model_sha256"], hashes, vocabulary)
        write_tokens(path, (self._rows(label, tokenizer) for label in self.tests), facts)

    def _rows(self, label: str, tokenizer: Any) -> pa.RecordBatch:
        items, data = self.tests[label]
        nats, _, entropy, rank = (
            np.concatenate(parts) for parts in zip(*self.scores[label], strict=True)
        )
        describe = Describer(data, tokenizer, [str(record["id"]) for record in items.items])
        columns = describe.columns(np.flatnonzero(data.response_mask))
        return token_batch(columns, label, nll=-nats, entropy=entropy, rank=rank)
