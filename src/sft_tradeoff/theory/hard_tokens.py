"""The largest safe step against the share of hard tokens, exactly.

The paper's Theorem 3.2 says that fewer hard tokens allow a wider range of safe steps. Here every
position of the text has a distribution of its own, in which θ0 gives the target token a probability
p: small at *hard* positions, large at *easy* ones. The other tokens keep their proportions under
tilting, so two outcomes are enough: target or not, whatever the alphabet. General text is what θ0
itself would write at the same positions, so the general loss of one position is KL(q_0‖q_λ), with
logit q_λ = (1 − λ) logit p + λ logit t for a target distribution that gives the token t.

This loss is convex in λ, so there is one largest safe step. A mixture of more hard positions has
the larger loss at every λ where a hard position loses more than an easy one; *only then* is the
theorem's statement true. To second order a position loses λ² p (1 − p) (logit t − logit p)² / 2,
which is largest for p of .2 to .4, by t, and falls to 0 for the hardest tokens, p → 0: they do not
move until λ is large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sft_tradeoff.theory.tilting import divergence, tilted


@dataclass(frozen=True)
class Positions:
    """Positions of a text, of two kinds.

    Args:
        easy: θ0's probability of the target token at easy positions.
        hard: The same at hard ones.
        target: Its probability under the target distribution p̃.
    """

    easy: float
    hard: float
    target: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < 1:
                raise ValueError(f"{name} {value:g}: give a probability between 0 and 1")

    def general_loss(self, step: ArrayLike, share: float) -> np.ndarray:
        """Mean general loss after one step, in nats per token.

        Args:
            step: λ, a number or [n].
            share: Of hard positions, from 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share {share:g}: give a share of hard positions from 0 to 1")
        lost = [loss_of(p, self.target, step) for p in (self.easy, self.hard)]
        return np.asarray((1 - share) * lost[0] + share * lost[1])

    def largest_safe_step(self, share: float, tolerance: float) -> float:
        """The largest λ whose general loss is at most the tolerance; 1 if all are.

        For n steps towards the same targets it is the total step Λ; λ = 1 − (1 − Λ)^(1/n). The
        ratio of two safe steps grows with n, so the one of a single step is the smallest.

        Args:
            share: Of hard positions, from 0 to 1.
            tolerance: In nats per token, above 0.
        """
        from scipy.optimize import brentq

        if not tolerance > 0:
            raise ValueError(f"tolerance {tolerance:g}: give a loss above 0")

        def excess(step: float) -> float:
            return float(self.general_loss(step, share)) - tolerance

        return 1.0 if excess(1.0) <= 0 else float(brentq(excess, 0.0, 1.0, xtol=1e-14))


def loss_of(p: float, target: float, step: ArrayLike) -> np.ndarray:
    """General loss KL(q_0‖q_λ) of one position, in nats.

    Args:
        p: θ0's probability of the target token.
        target: Its probability under p̃.
        step: λ, a number or [n].

    Returns:
        A number or [n].
    """
    start, goal = np.array([p, 1 - p]), np.array([target, 1 - target])
    return divergence(start, tilted(start, goal, np.asarray(step, dtype=np.float64)[..., None]))
