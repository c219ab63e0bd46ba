"""Tilting with large and with small steps, compared where the domain has gained the same."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np

from sft_tradeoff.theory.bounds import curvature_bound, normalizer_bound
from sft_tradeoff.theory.tilting import code_length_change, distributions, path

GRID = np.geomspace(1e-4, 1.0, 81)[:, None, None]  # steps among which the first crossing is sought


@dataclass(frozen=True)
class Tilting:
    """A start, what is lost and gained, and the targets of every step.

    Args:
        start: q_0, [K].
        general: G, distribution of general text, [K].
        domain: D, distribution of domain text, [K].
        targets: p̃ of each batch in each order, [B, O, K]; after the last batch comes the first
            again. B = 1: a target that does not move.
    """

    start: np.ndarray
    general: np.ndarray
    domain: np.ndarray
    targets: np.ndarray

    def of(self, n: int) -> np.ndarray:
        """Targets of n steps, [n, O, K]."""
        return self.targets[np.arange(n) % len(self.targets)]


class Outcome(NamedTuple):
    """What n steps of λ have changed, in nats per token; means over all orders of the batches.

    Args:
        step: λ.
        gain: −ΔL_D, the domain gain.
        loss: ΔL_G, the general loss.
        curvature_bound: Bound on the loss that falls with λ.
        normalizer_bound: Bound that does not.
    """

    step: float
    gain: float
    loss: float
    curvature_bound: float
    normalizer_bound: float


def fixed_target(batches: np.ndarray) -> np.ndarray:
    """The mean of all batches' targets as the target of every step: [B, K] -> [1, 1, K]."""
    return distributions(batches, "batches").mean(0)[None, None]


def moving_targets(batches: np.ndarray) -> np.ndarray:
    """One batch after the other, in all B! orders: [B, K] -> [B, B!, K]."""
    orders = np.array(list(permutations(range(len(batches)))))
    return distributions(batches, "batches")[orders.T]


def smoothed(counts: np.ndarray, pseudo_count: float) -> np.ndarray:
    """Targets of batches: the tokens counted in each, [B, K], plus a pseudo-count for each token.

    The empirical distribution itself has zeros, from which tilting never returns.
    """
    raised = np.asarray(counts, dtype=np.float64) + pseudo_count
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def trajectory(tilting: Tilting, step: float, n: int) -> list[Outcome]:
    """What has changed after 0 … n steps of λ."""
    targets = tilting.of(n)
    passed = path(tilting.start, targets, step)
    begin = np.broadcast_to(tilting.start, passed.shape)
    columns = (
        -code_length_change(tilting.domain, begin, passed),
        code_length_change(tilting.general, begin, passed),
        curvature_bound(tilting.general, passed, targets, step),
        normalizer_bound(tilting.general, passed, targets, step),
    )
    means = np.stack([column.reshape(n + 1, -1).mean(1) for column in columns], axis=1)
    return [Outcome(step, *map(float, row)) for row in means]


def at_gain(tilting: Tilting, gain: float, n: int) -> Outcome:
    """The outcome of n equal steps that gain a given amount on the domain.

    Args:
        tilting: What is tilted.
        gain: Domain gain in nats per token, above 0.
        n: Number of steps.

    Returns:
        Of the smallest λ with this gain.

    Raises:
        ValueError: If n steps of no λ gain as much; says how much they gain at most.
    """
    from scipy.optimize import brentq

    over_grid = _gains(tilting, GRID, n)  # (81,)
    if not gain > 0 or not (reached := over_grid >= gain).any():
        most = float(over_grid.max())
        raise ValueError(f"gain {gain:g} in {n} steps: give one above 0 and at most {most:.4g}")
    first = int(reached.argmax())
    low, high = (float(GRID[first - 1, 0, 0]) if first else 0.0), float(GRID[first, 0, 0])
    step = brentq(
        lambda size: float(_gains(tilting, size, n)[0]) - gain, low, high, xtol=1e-15, rtol=1e-14
    )
    return trajectory(tilting, float(step), n)[-1]


def _gains(tilting: Tilting, step: float | np.ndarray, n: int) -> np.ndarray:
    """Domain gain of n steps, for each λ, mean over orders."""
    last = path(tilting.start, tilting.of(n), step)[-1]  # (O, K), or (steps, O, K)
    begin = np.broadcast_to(tilting.start, last.shape)
    return np.atleast_1d(-code_length_change(tilting.domain, begin, last).mean(-1))
