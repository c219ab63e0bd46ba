"""Count and time the matrix products of a training step that reads every token."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

REPEATS = 3


def linear_shapes(model: Path) -> tuple[Counter[tuple[int, int]], tuple[int, int]]:
    """Return the number of weights of each shape (out, in) in the body, and the head's shape."""
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    head = network.get_output_embeddings()
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return Counter(tuple(m.weight.shape) for m in linear), tuple(head.weight.shape)


def useful_flops(model: Path, lengths: Sequence[np.ndarray], n_supervised: list[int]) -> list[int]:
    """Floating-point operations that the data of each step need, if every token is read.

    A product of N tokens with a weight of P entries takes 2·P·N operations forward and twice that
    backward: 6·P·N, over all real tokens in the body and over supervised tokens in the head.
    Causal attention of T tokens takes T²·d forward in each of its two products (half of the
    square; d = heads · head size), three times that with backward: 6·T²·d per layer. Padding,
    recomputation and logits of prompts are not counted for anyone.

    Args:
        model: Model folder.
        lengths: Per step, tokens of each of its sequences.
        n_supervised: Per step, supervised tokens.
    """
    body, head = linear_shapes(model)
    n_body = sum(count * rows * columns for (rows, columns), count in body.items())
    config = AutoConfig.from_pretrained(model)
    width = config.num_hidden_layers * config.num_attention_heads * config.head_dim
    return [
        6 * (n_body * int(t.sum()) + head[0] * head[1] * n + width * int((t**2).sum()))
        for t, n in zip(lengths, n_supervised, strict=True)
    ]


def bound_seconds(model: Path, n_tokens: int, n_supervised: int) -> dict[str, float]:
    """Time of one step's matrix products in bfloat16, and of nothing else.

    A lower bound for any step that reads every token of every example. A step that computes a
    shared prefix once, as ours may, can be faster.

    For every linear layer three products are timed, with the step's number of real tokens (for the
    head, of supervised tokens): forward X·Wᵀ, and backward dY·W and dYᵀ·X. They are timed
    separately because a CPU takes longer for the last, which sums over the long dimension. Each
    time is the fastest of several, with preallocated output; attention, norms, loss, casts,
    optimizer and data loading are left out. So bound / step time is the share of a step that no
    implementation reading every token in this precision can avoid.

    Returns:
        Seconds of ``forward``, ``input_gradient`` and ``weight_gradient``, summed over layers.
    """
    body, head = linear_shapes(model)
    total = dict.fromkeys(("forward", "input_gradient", "weight_gradient"), 0.0)
    shapes = [(shape, n_tokens, count) for shape, count in body.items()] + [(head, n_supervised, 1)]
    for (rows, columns), n, count in shapes:
        x, weight, y = (
            torch.randn(size, dtype=torch.bfloat16)
            for size in ((n, columns), (rows, columns), (n, rows))
        )
        products = {
            "forward": (x, weight.T),
            "input_gradient": (y, weight),
            "weight_gradient": (y.T, x),
        }
        for name, factors in products.items():
            total[name] += count * _fastest_seconds(*factors)
    return total


def _fastest_seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    out, times = left.new_empty(left.shape[0], right.shape[1]), []
    for _ in range(REPEATS):
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        times.append(time.perf_counter() - started)
    return min(times)
