"""Upper bounds on the general loss of tilting, whose dependence on the step can be compared.

The paper's Theorem 3.1 says that, at a fixed domain gain, *the upper bound* on the general loss
falls as the step λ falls. Its bound is not known here in full: neither the constants nor how the
rest is estimated. Both bounds below are therefore ours. They begin with the exact change of one
step,

    ΔL_G = λ [KL(G‖p̃) − KL(G‖q)] + log Z(λ),

and differ in what they do with log Z(λ), the cumulant of the score s = log p̃ − log q under q:

- :func:`curvature_bound` keeps its slope and bounds its curvature, λ² for a step. At a fixed gain,
  the number of steps is about 1 / λ, so what remains is about λ: the bound falls with λ, as the
  theorem says, to the loss itself.
- :func:`normalizer_bound` drops it, since log Z ≤ 0. At a fixed gain and for a target that does not
  move, this bound is *lowest* for one large step.

For a target that does not move, the loss itself does not depend on λ. So which way a bound moves is
a property of the bound, not of the loss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sft_tradeoff.theory.tilting import distributions


def curvature_bound(
    general: ArrayLike, path: ArrayLike, targets: ArrayLike, step: ArrayLike
) -> np.ndarray:
    """Bound that falls with the step: Σ_t λ (E_q[s] − E_G[s]) + λ² R² / 8.

    s = log p̃_t − log q_t, and R is its range over the tokens. A variable of range R has a cumulant
    of at most λ E_q[s] + λ² R² / 8 (Hoeffding's lemma). For a target that does not move, halving
    the steps (2 n of them, the same Λ) never raises it: R² / 8 is at least half of the curvature
    everywhere. The second terms add up to λ / (2 − λ) · (1 − (1 − Λ)²) R_0² / 8.

    Args:
        general: G, [..., K].
        path: q_0 … q_n, [n + 1, ..., K] (:func:`~.tilting.path`).
        targets: p̃_0 … p̃_{n−1}, [n, ..., K].
        step: λ, see :func:`~.tilting.tilted`.

    Returns:
        Bound on the general loss after 0 … n steps, in nats per token, [n + 1, ...].
    """
    before, score = _scores(path, targets)
    slope = ((before - distributions(general, "general")) * score).sum(-1)  # (n, ...)
    size = _without_tokens(step)
    return _running_sum(size * slope + np.square(size * np.ptp(score, axis=-1)) / 8)


def normalizer_bound(
    general: ArrayLike, path: ArrayLike, targets: ArrayLike, step: ArrayLike
) -> np.ndarray:
    """Bound that is lowest for one large step: Σ_t λ [KL(G‖p̃_t) − KL(G‖q_t)].

    See :func:`curvature_bound` for arguments and result.
    """
    _, score = _scores(path, targets)
    lost = -(distributions(general, "general") * score).sum(-1)
    return _running_sum(_without_tokens(step) * lost)


def _scores(path: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """q_t before each step, and its score s_t; both [n, ..., K]."""
    before = distributions(path, "path")[:-1]
    return before, np.log(distributions(targets, "targets")) - np.log(before)


def _without_tokens(step: ArrayLike) -> np.ndarray:
    size = np.asarray(step, dtype=np.float64)
    return size[..., 0] if size.ndim else size


def _running_sum(changes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(changes[:1]), np.cumsum(changes, axis=0)])
