"""Which examples form each optimizer step, and how they become tensors.

The schedule is a pure function of the seed, so a resumed run needs no saved sampler state. Batches
group examples of similar length, which keeps padding small; the order of the batches is random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sft_tradeoff.models.padding import WIDTH_UNIT, padded_width

if TYPE_CHECKING:
    from torch import Tensor, device

    from sft_tradeoff.models.tokenized import TokenizedData

# Examples are sorted by length within chunks of this many batches: enough to reduce padding, few
# enough that the composition of batches changes between epochs.
BATCHES_PER_CHUNK = 16
# A row that holds all sequences is padded to a multiple of this: matrix products that sum over the
# tokens of a batch are up to a tenth slower otherwise.
ROW_UNIT = 64
# A shared prefix is stored once if at most this share of the tokens remains. Otherwise attention in
# two parts costs more time than the tokens that it saves.
WORTH_SHARING = 0.8


def batch_schedule(
    lengths: np.ndarray, batch_size: int, epochs: float, seed: int
) -> list[np.ndarray]:
    """Return the example indices of every optimizer step.

    Every epoch visits each example once; its last batch may be smaller. A fractional epoch stops
    partway.

    Args:
        lengths: [n] tokens per example.
        batch_size: Sequences per optimizer step (the global batch).
        epochs: Passes over the data, > 0.
        seed: Determines the order.

    Returns:
        One array per step, its examples from longest to shortest.
    """
    n_steps = max(1, round(epochs * math.ceil(len(lengths) / batch_size)))
    batches: list[np.ndarray] = []
    epoch = 0
    while len(batches) < n_steps:
        rng = np.random.default_rng([seed, epoch])
        batches += _epoch_batches(lengths, batch_size, rng)
        epoch += 1
    return batches[:n_steps]


def _epoch_batches(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    order = rng.permutation(len(lengths))
    chunk = batch_size * BATCHES_PER_CHUNK
    batches: list[np.ndarray] = []
    for start in range(0, len(order), chunk):
        rows = order[start : start + chunk]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


@dataclass(frozen=True)
class Batch:
    """A padded micro-batch of B sequences with N supervised tokens.

    There is no attention mask. Padding is on the right, so in causal attention no real token ever
    sees it, and no padded position is supervised.

    Args:
        shared_prefix: [P] int64, tokens that all sequences begin with; may be empty.
        input_ids: [B, T] int64, what follows the shared prefix, padded on the right.
        positions: [N] int64, indices into the P + B·T hidden states (the shared prefix, then row
            after row) of those that predict a label.
        labels: [N] int64, the tokens to predict.
        sequence: [N] int64, the label's sequence within the *global* batch.
        token: [N] int64, the label's index in ``TokenizedData.input_ids``.
    """

    shared_prefix: Tensor
    input_ids: Tensor
    positions: Tensor
    labels: Tensor
    sequence: Tensor
    token: Tensor

    def to(self, device: str | device) -> Batch:
        """Copy to a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def collate(
    data: TokenizedData,
    rows: np.ndarray,
    first_sequence: int,
    pad_id: int,
    share_up_to: int = 0,
) -> Batch:
    """Pad examples to a :class:`Batch`; sequences are numbered from ``first_sequence``.

    Args:
        data: The examples.
        rows: Indices of those in this batch.
        first_sequence: Number of the first one within the global batch.
        pad_id: Padding token.
        share_up_to: Store a shared prefix once if no example has more tokens than this, and if it
            saves enough.
    """
    import torch

    examples = [data.example(int(row)) for row in rows]
    start, width = _columns(examples, share_up_to)
    input_ids = np.full((len(rows), width), pad_id, dtype=np.int64)  # (B, T)
    supervised = np.zeros((len(rows), width), dtype=bool)  # (B, T)
    for i, (ids, mask) in enumerate(examples):
        input_ids[i, : len(ids) - start] = ids[start:]
        supervised[i, : len(ids) - start] = mask[start:]
    sequence, column = np.nonzero(supervised)  # (N,), (N,)
    return Batch(
        shared_prefix=torch.from_numpy(examples[0][0][:start].astype(np.int64)),
        input_ids=torch.from_numpy(input_ids),
        # The hidden state one column before a label predicts it.
        positions=torch.from_numpy(start + sequence * width + column - 1),
        labels=torch.from_numpy(input_ids[sequence, column]),
        sequence=torch.from_numpy(sequence + first_sequence),
        token=torch.from_numpy(data.offsets[rows][sequence] + start + column),
    )


def row_length(n_shared: int, n_rows: int, width: int) -> int:
    """Tokens of one row that holds a shared prefix and what follows it in each sequence."""
    return math.ceil((n_shared + n_rows * width) / ROW_UNIT) * ROW_UNIT


def _columns(examples: list[tuple[np.ndarray, np.ndarray]], share_up_to: int) -> tuple[int, int]:
    """Length P of the shared prefix that is stored once, and columns T for each example's rest."""
    longest = max(len(ids) for ids, _ in examples)
    whole = padded_width(longest)
    start = shared_prefix_length(examples) if longest <= share_up_to else 0
    width = padded_width(longest - start)
    worth = row_length(start, len(examples), width) <= WORTH_SHARING * len(examples) * whole
    return (start, width) if start and worth else (0, whole)


def shared_prefix_length(examples: list[tuple[np.ndarray, np.ndarray]]) -> int:
    """Number of tokens that all examples begin with and that predict none of their labels.

    Rounded down to a multiple of :data:`WIDTH_UNIT`. Every example keeps at least one token.

    Args:
        examples: Token ids [T] and response mask [T] of each.
    """
    # The token before a label predicts it, so the prefix ends before that token at the latest.
    limit = min(int(np.argmax([*mask[:-1], True])) - 1 for _, mask in examples)
    first = examples[0][0][: max(limit, 0)]
    for ids, _ in examples[1:]:
        same = first == ids[: len(first)]
        first = first[: len(first) if same.all() else int(same.argmin())]
    return len(first) // WIDTH_UNIT * WIDTH_UNIT
