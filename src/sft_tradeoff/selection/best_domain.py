"""Keep the weights of the epoch with the best score on the domain's validation examples.

After every epoch the weights are written as a model folder, by the function that writes final
weights, and that folder is scored by evaluation's own code: what is chosen is what is evaluated,
bit for bit, with adapters merged and shards gathered.

A kill at any moment costs at most one scoring. A resume point is written before the weights are
scored; it holds the scores of all earlier epochs, and the folder of the best of these stays until
the next resume point exists.
"""

from __future__ import annotations

import datetime
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from accelerate.utils import broadcast_object_list

from sft_tradeoff.analysis.epochs import ITEMS_NAME
from sft_tradeoff.models.folder import ModelError, check_small_files, check_weights, staged_folder
from sft_tradeoff.selection.validation import SCORE_COLUMNS, Validation
from sft_tradeoff.stats.estimates import ratio_estimate
from sft_tradeoff.system.files import path_with_checksum

if TYPE_CHECKING:
    from sft_tradeoff.training.loop import Trainer

logger = logging.getLogger(__name__)
LONGEST_SCORING = datetime.timedelta(days=7)  # the other ranks wait for the first one


def best_epoch(epochs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the epoch with the highest domain score.

    Of equal ones, that with the smaller NLL; of these, the earliest. A missing value (NaN) is worse
    than any other.
    """

    def quality(epoch: dict[str, Any]) -> tuple[float, float, int]:
        score, nll = epoch["domain_score"], epoch["domain_nll"]
        return (
            -math.inf if math.isnan(score) else score,
            -math.inf if math.isnan(nll) else -nll,
            -epoch["step"],
        )

    return max(epochs, key=quality)


class BestOnDomain:
    """Scores the weights at the ends of epochs; see :class:`~.training.epochs.Selection`.

    Args:
        validation: What the weights are scored on.

    Attributes:
        facts: Checksums of the validation examples.
        epochs: One record per epoch: epoch, step, domain_score, domain_nll [nats per token],
            n_items and time_s [seconds for writing and scoring].
    """

    def __init__(self, validation: Validation) -> None:
        self.validation, self.facts = validation, validation.facts
        self.epochs: list[dict[str, Any]] = []
        self._items: list[list[tuple[Any, ...]]] = []  # of every epoch, on the first rank

    def begin(self, trainer: Trainer, write: Callable[[Path], None], folder: Path) -> None:
        """Be told what is trained; see :meth:`~.training.epochs.Selection.begin`."""
        self.trainer, self.write, self.folder = trainer, write, folder
        self._is_first = trainer.accelerator.is_main_process
        self._waiting = None
        if trainer.accelerator.num_processes > 1:  # of its own, so that scoring may take hours
            self._waiting = torch.distributed.new_group(backend="gloo", timeout=LONGEST_SCORING)

    def is_due(self, step: int) -> bool:
        """Whether an epoch has ended with this step and is not scored yet."""
        return step in self.trainer.epoch_ends and all(e["step"] != step for e in self.epochs)

    def after_epoch(self, step: int) -> None:
        """Write and score the weights; the first rank scores, the others wait."""
        started = time.monotonic()
        if self._is_first:
            self._remove_all_but(self._best_folder())
        self.write(self._folder_of(step))
        scored: list[Any] = [None]
        if self._is_first:
            items = self.validation.score(self._folder_of(step))
            self._items.append(list(items.itertuples(index=False, name=None)))
            scored = [self._record(step, items) | {"time_s": time.monotonic() - started}]
        if self._waiting:
            torch.distributed.barrier(self._waiting)
        self.epochs += broadcast_object_list(scored)
        self._report()

    def _record(self, step: int, items: pd.DataFrame) -> dict[str, Any]:
        rows = {metric: group for metric, group in items.groupby("metric")}
        score, nll = (
            ratio_estimate(rows[metric]["value"], rows[metric]["size"])
            for metric in ("accuracy", "nll")
        )
        return {
            "epoch": self.trainer.epoch_ends[step],
            "step": step,
            "domain_score": score.value,
            "domain_nll": nll.value,
            "n_items": score.n,
        }

    def _report(self) -> None:
        last = self.epochs[-1]
        logger.info(
            "epoch %g of %g  validation: score %.3f, nll %.3f (%d examples, %.0f s)%s",
            last["epoch"],
            max(self.trainer.epoch_ends.values()),
            last["domain_score"],
            last["domain_nll"],
            last["n_items"],
            last["time_s"],
            "  best so far" if last is best_epoch(self.epochs) else "",
        )

    def state(self) -> dict[str, Any]:
        """What a resume point keeps."""
        return {"epochs": self.epochs, "items": self._items}

    def can_resume(self, state: dict[str, Any]) -> bool:
        """Whether the best weights so far are there, undamaged."""
        if not state["epochs"]:
            return True
        folder = self._folder_of(best_epoch(state["epochs"])["step"])
        try:
            check_weights(folder)
            check_small_files(folder)
        except (ModelError, OSError) as error:
            logger.warning("the best weights so far are damaged (%s); starting over", error)
            return False
        return True

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a resume point."""
        self.epochs, self._items = state["epochs"], state["items"]

    def finish(self, out: Path) -> dict[str, Any]:
        """Give ``out`` the chosen weights, and write ``epochs.parquet`` next to it."""
        chosen = best_epoch(self.epochs)
        with staged_folder(out) as folder:
            source = self._folder_of(chosen["step"])
            # Both names stay until all results are written: a kill in between repeats one scoring.
            shutil.copytree(source, folder, copy_function=_link_or_copy, dirs_exist_ok=True)
        with path_with_checksum(out.with_name(ITEMS_NAME)) as temporary:
            self.items().to_parquet(temporary, index=False)
        logger.info("kept the weights of epoch %g (step %d)", chosen["epoch"], chosen["step"])
        epochs = [epoch | {"selected": epoch is chosen} for epoch in self.epochs]
        return {"epochs": epochs}

    def items(self) -> pd.DataFrame:
        """Scores of every epoch: epoch, item, metric, value, size, cluster."""
        frames = [pd.DataFrame(rows, columns=SCORE_COLUMNS) for rows in self._items]
        for frame, epoch in zip(frames, self.epochs, strict=True):
            frame.insert(0, "epoch", epoch["epoch"])
        return pd.concat(frames, ignore_index=True)

    def _folder_of(self, step: int) -> Path:
        return self.folder / str(step)

    def _best_folder(self) -> Path | None:
        return self._folder_of(best_epoch(self.epochs)["step"]) if self.epochs else None

    def _remove_all_but(self, kept: Path | None) -> None:
        for path in self.folder.glob("*"):
            if path != kept:
                shutil.rmtree(path)


def _link_or_copy(source: str, target: str) -> str:
    """A second name for a file, or a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
