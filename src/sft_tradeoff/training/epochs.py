"""The ends of epochs, and what may happen to the weights there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sft_tradeoff.training.loop import Trainer


def epoch_ends(n_examples: int, batch_size: int, n_steps: int) -> dict[int, float]:
    """Return steps done -> passes over the data, at the end of every epoch.

    The end of training counts as one, wherever it is.
    """
    per_epoch = math.ceil(n_examples / batch_size)
    steps = [*range(per_epoch, n_steps, per_epoch), n_steps]
    return {step: step / per_epoch for step in steps}


class Selection(Protocol):
    """Chooses the weights of a run among those at the ends of its epochs.

    ``is_due`` and ``after_epoch`` are called on all ranks.
    """

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the choice depends on besides the run's configuration, for its records."""

    def begin(self, trainer: Trainer, write: Callable[[Path], None], folder: Path) -> None:
        """Be told what is trained.

        Args:
            trainer: Knows the ends of epochs.
            write: Writes a folder with the current weights; must be called on all ranks.
            folder: For weights and other files, until the run has ended.
        """

    def is_due(self, step: int) -> bool:
        """Whether an epoch has ended with this step and :meth:`after_epoch` has not been called."""

    def after_epoch(self, step: int) -> None:
        """Look at the weights."""

    def state(self) -> Any:
        """What a resume point keeps."""

    def can_resume(self, state: Any) -> bool:
        """Whether the files that a resume point relies on are there."""

    def resume(self, state: Any) -> None:
        """Go on from a resume point."""

    def finish(self, out: Path) -> dict[str, Any]:
        """Write the chosen weights to ``out``; return measurements for ``train.json``."""
