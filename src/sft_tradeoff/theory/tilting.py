"""Exponential tilting of distributions over a small alphabet, and what it costs, exactly.

One step of size λ in (0, 1] towards a target p̃ is q' ∝ q^(1−λ) p̃^λ (arXiv 2509.20758, section 3;
λ stands for the learning rate). Losses are expected code lengths in nats per token, L_P(q) =
−E_P[log q]; G is a distribution of general text, D the domain's. With the normalizer
log Z(λ) = log Σ q^(1−λ) p̃^λ ≤ 0, one step changes them by

    ΔL_G = λ [KL(G‖p̃) − KL(G‖q)] + log Z(λ),
    ΔL_D = λ [KL(D‖p̃) − KL(D‖q)] + log Z(λ).

Both are differences of log q, so nothing here is approximate but the rounding of float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def distributions(values: ArrayLike, name: str) -> np.ndarray:
    """Check distributions.

    Args:
        values: [..., K], probabilities of K tokens.
        name: For the message.

    Returns:
        The same as float64.

    Raises:
        ValueError: If a probability is not above 0 (tilting cannot leave 0, and reaches it at any
            step), or they do not add up to 1. Names the argument, the value and the fix.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim == 0 or not (smallest := found.min(initial=np.inf)) > 0:
        told = "a single number" if found.ndim == 0 else f"a probability of {smallest:g}"
        raise ValueError(f"{name} has {told}; give every token a probability above 0")
    if (off := np.abs(found.sum(-1) - 1).max(initial=0.0)) > 1e-9:
        raise ValueError(f"{name} adds up to 1 ± {off:g}; divide it by its sum")
    return found


def tilted(start: ArrayLike, target: ArrayLike, step: ArrayLike) -> np.ndarray:
    """One step: q' ∝ q^(1−λ) p̃^λ.

    Args:
        start: q, [..., K].
        target: p̃, [..., K].
        step: λ in [0, 1], a number or an array that broadcasts to [..., 1].

    Returns:
        q', [..., K].

    Raises:
        ValueError: If λ lies outside [0, 1], or q or p̃ is no distribution.
    """
    q, goal, size = distributions(start, "start"), distributions(target, "target"), _steps(step)
    log_q = (1 - size) * np.log(q) + size * np.log(goal)
    unscaled = np.exp(log_q - log_q.max(-1, keepdims=True))
    return np.asarray(unscaled / unscaled.sum(-1, keepdims=True))


def path(start: ArrayLike, targets: ArrayLike, step: ArrayLike) -> np.ndarray:
    """The distributions before the first and after each of n steps.

    Args:
        start: q_0, [..., K].
        targets: p̃_0 … p̃_{n−1}, [n, ..., K]; equal ones for a target that does not move.
        step: λ, the same for all steps; see :func:`tilted`.

    Returns:
        q_0 … q_n, [n + 1, ..., K].
    """
    found = [distributions(start, "start")]
    for target in np.asarray(targets, dtype=np.float64):
        found.append(tilted(found[-1], target, step))
    return np.stack(np.broadcast_arrays(*found))


def total_step(step: ArrayLike, n: int) -> np.ndarray:
    """Λ = 1 − (1 − λ)^n: n steps of λ towards a target that does not move are one step of Λ."""
    with np.errstate(divide="ignore"):  # λ = 1
        return np.asarray(-np.expm1(n * np.log1p(-_steps(step))))


def step_of_total(total: ArrayLike, n: int) -> np.ndarray:
    """λ = 1 − (1 − Λ)^(1/n), the inverse of :func:`total_step`."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(np.log1p(-_steps(total)) / n))


def divergence(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """KL(P‖q) in nats, [...]; infinite if q is 0 where P is not."""
    from scipy.special import rel_entr

    return np.asarray(rel_entr(p, q).sum(-1))


def code_length_change(p: ArrayLike, before: ArrayLike, after: ArrayLike) -> np.ndarray:
    """Expected change of code length ΔL_P = E_P[log q₁ − log q₂], in nats per token.

    It is KL(P‖q₂) − KL(P‖q₁), the paper's Proposition 3.1: the entropy of P cancels. Computed from
    the code lengths, so that the identity can be tested.

    Args:
        p: P, the distribution of the text, [..., K].
        before: q₁, [..., K].
        after: q₂, [..., K].
    """
    one, other = distributions(before, "before"), distributions(after, "after")
    return np.asarray((np.asarray(p) * (np.log(one) - np.log(other))).sum(-1))


def _steps(values: ArrayLike) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if not ((found >= 0) & (found <= 1)).all():
        wrong = found[~((found >= 0) & (found <= 1))].flat[0]
        raise ValueError(f"step {wrong:g}: give a λ from 0 to 1")
    return found
