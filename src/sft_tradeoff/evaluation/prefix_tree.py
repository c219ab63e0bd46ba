"""Token sequences stored as a tree, so that a prefix shared by several is computed once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from sft_tradeoff.models.padding import padded_width

# Rows up to this width are filled up with short trees instead of padding; in wider rows the
# additional attention costs more than the padding.
FILLED_WIDTH = 512


class PrefixTree:
    """Token sequences whose shared prefixes are stored, and computed, once.

    A node is an input token at position ``depth`` of its sequence; it attends to itself and its
    ancestors. The last token of a sequence is only predicted, so it is not a node.

    A tree becomes one row of a batch, with node n at index n. The sequences 1 2 3 9 and 1 2 4 5 6,
    for example, are read as 5 tokens instead of 7:

    ======  ==  ==  ==  ==  ==
    node     0   1   2   3   4
    token    1   2   3   4   5
    parent  -1   0   1   1   3
    depth    0   1   2   2   3
    ======  ==  ==  ==  ==  ==

    Node 3 attends to 0, 1 and 3 but not to 2, and has position 2 like node 2. A parent's index is
    smaller than its children's, so the attention mask is lower triangular, as a causal mask is.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.parent: list[int] = []
        self.depth: list[int] = []
        self.targets: list[tuple[int, int, int]] = []  # (node, label it predicts, sequence)
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def branches(self) -> bool:
        """Whether a plain causal mask would be wrong."""
        return self.parent != list(range(-1, len(self) - 1))

    def add(self, sequence: int, ids: Sequence[int], scored: Iterable[int]) -> None:
        """Add a sequence.

        Args:
            sequence: Its number.
            ids: Its tokens.
            scored: Indices of the tokens to score, none of them 0.
        """
        path: list[int] = []
        for token in ids[:-1]:
            path.append(self._node(path[-1] if path else -1, token, len(path)))
        self.targets += [(path[i - 1], ids[i], sequence) for i in scored]

    def _node(self, parent: int, token: int, depth: int) -> int:
        node = self._children.setdefault((parent, token), len(self))
        if node == len(self):
            self.ids.append(token)
            self.parent.append(parent)
            self.depth.append(depth)
        return node

    def absorb(self, other: PrefixTree) -> None:
        """Append another tree's sequences; no prefix is shared with them."""
        start = len(self)
        self.ids += other.ids
        self.parent += [parent + start if parent >= 0 else -1 for parent in other.parent]
        self.depth += other.depth
        self.targets += [(node + start, label, row) for node, label, row in other.targets]
        self._children.clear()  # after this no sequence may be added

    def attention(self) -> np.ndarray:
        """[T, T] bool: row i is True at the nodes that node i attends to."""
        allowed = np.eye(len(self), dtype=bool)
        for node, parent in enumerate(self.parent):
            if parent >= 0:
                allowed[node] |= allowed[parent]
        return allowed


def tree_batches(
    trees: Iterable[PrefixTree], batch_tokens: int, fill: bool
) -> Iterator[list[PrefixTree]]:
    """Yield batches of trees of similar size, largest first.

    Args:
        trees: One row each, none empty.
        batch_tokens: Upper bound of rows × padded width, unless a single row exceeds it.
        fill: Append small trees to the rows of larger ones instead of padding.
    """
    waiting = sorted(trees, key=len)
    while waiting:
        width = padded_width(len(waiting[-1]))
        n_rows = max(1, batch_tokens // width)
        waiting, rows = waiting[:-n_rows], waiting[-n_rows:]
        lengths = [len(tree) for tree in waiting]
        for row in rows if fill and width <= FILLED_WIDTH else ():  # shortest first
            while place := bisect_right(lengths, width - len(row)):
                del lengths[place - 1]
                row.absorb(waiting.pop(place - 1))
        yield rows


def tree_layout(
    trees: Sequence[PrefixTree], width: int, dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    """Positions and attention mask of B trees padded to T nodes.

    Padding attends to itself only: a softmax over no position at all would be NaN.

    Args:
        trees: One per row.
        width: T.
        dtype: Of the mask.
        device: Of both tensors.

    Returns:
        ``position_ids`` [B, T] int64, the nodes' depths, and the additive ``attention_mask``
        [B, 1, T, T]: 0 where attention is allowed, else the smallest number of ``dtype``.
    """
    depth = torch.zeros(len(trees), width, dtype=torch.long)  # (B, T)
    allowed = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)  # (B, T, T)
    for row, tree in enumerate(trees):
        depth[row, : len(tree)] = torch.tensor(tree.depth)
        allowed[row, : len(tree), : len(tree)] = torch.from_numpy(tree.attention())
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device)
    mask.masked_fill_(~allowed.to(device), torch.finfo(dtype).min)
    return {
        "position_ids": depth.to(device),
        "attention_mask": mask[:, None],
    }
