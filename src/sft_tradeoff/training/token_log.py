"""The loss of single training tokens at every step, which training computes anyway.

Each example is seen once per epoch, so a token has one loss per epoch: that before the update of
its step. To bound the file, a large run keeps the tokens of some examples only; which ones depends
on the data alone, so that all runs keep the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from sft_tradeoff.analysis.token_kinds import Describer
from sft_tradeoff.analysis.token_records import Facts, token_batch, write_tokens
from sft_tradeoff.models.vocabulary import vocabulary_sha256

if TYPE_CHECKING:
    from sft_tradeoff.models.tokenized import TokenizedData

MOST_TOKENS = 1_000_000  # of one run, over all epochs; about 12 bytes each in the file
PER_BATCH = 65_536  # tokens of a row group


def kept_examples(n_supervised: np.ndarray, epochs: float, most: int = MOST_TOKENS) -> np.ndarray:
    """Whether the tokens of each example are kept: [n] bool.

    Args:
        n_supervised: [n] response tokens of each example.
        epochs: Passes over the data.
        most: Tokens to keep over all epochs; at least one example is kept.
    """
    order = np.random.default_rng(0).permutation(len(n_supervised))
    total = np.cumsum(n_supervised[order]) * math.ceil(epochs)
    kept = np.zeros(len(n_supervised), dtype=bool)
    kept[order[: max(1, int(np.searchsorted(total, most, side="right")))]] = True
    return kept


class TokenLog:
    """Collects the losses of a run.

    Args:
        data: Tokenized training split.
        epochs: Passes over it.
        batch_size: Sequences per step.
        most: See :func:`kept_examples`.
    """

    def __init__(
        self, data: TokenizedData, epochs: float, batch_size: int, most: int = MOST_TOKENS
    ) -> None:
        self.data = data
        self.steps_per_epoch = math.ceil(len(data) / batch_size)
        kept = np.repeat(kept_examples(data.n_supervised, epochs, most), data.lengths)
        self.kept = torch.from_numpy(kept)  # (ΣT,)
        self.position: list[torch.Tensor] = []  # one entry per step
        self.nll: list[torch.Tensor] = []

    def add(self, position: torch.Tensor, nll: torch.Tensor) -> None:
        """Keep the losses of a step's global batch.

        Args:
            position: [N] int64, places in ``input_ids``, on the CPU.
            nll: [N] float32 nats, likewise.
        """
        kept = self.kept[position]
        self.position.append(position[kept].to(torch.int32))
        self.nll.append(nll[kept])

    def state(self) -> dict[str, Any]:
        """What a resume point keeps."""
        return {"position": self.position, "nll": self.nll}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a resume point."""
        self.position, self.nll = list(state["position"]), list(state["nll"])

    def write(self, path: Path, facts: Facts, tokenizer: Any, reference_nll: np.ndarray) -> None:
        """Write ``training_tokens.parquet``.

        Args:
            path: The file.
            facts: What it belongs to; the vocabulary is filled in.
            tokenizer: Of θ0.
            reference_nll: [ΣT] float32 nats under θ0.
        """
        (domain,) = facts.data_sha256
        describe = Describer(self.data, tokenizer)

        def batches() -> Iterator[pa.RecordBatch]:
            for steps in _groups([len(nll) for nll in self.nll]):
                position = torch.cat([self.position[step] for step in steps]).numpy()
                step = np.repeat(steps, [len(self.nll[s]) for s in steps])
                yield token_batch(
                    describe.columns(position),
                    domain,
                    step=(step + 1).astype(np.int32),
                    epoch=(step // self.steps_per_epoch + 1).astype(np.int32),
                    nll=torch.cat([self.nll[s] for s in steps]).numpy(),
                    reference_nll=reference_nll[position],
                )

        hashed = facts._replace(vocabulary_sha256=vocabulary_sha256(tokenizer))
        write_tokens(path, batches(), hashed)


def _groups(sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """Consecutive steps of about :data:`PER_BATCH` tokens each."""
    number = np.cumsum(sizes) // PER_BATCH
    for group in np.unique(number):
        yield np.flatnonzero(number == group)
