"""The training loop: one model, one domain, one method.

A step processes one *global batch*: ``batch_size`` sequences, divided among the ranks (processes)
and, within a rank, into micro-batches that fit into memory. In outline:

    for each step:
        micro-batches = this rank's share of the global batch
        for each micro-batch:
            nll = loss of its supervised tokens             # forward
            (weights · nll / N).sum().backward()            # gradients add up
        sum gradients over ranks; clip; AdamW; copy masters to the model that computes

N counts the supervised tokens of the whole global batch. Because the sum is divided by the same N
everywhere, the gradient does not depend on how the batch is split.

Resuming after a kill at any moment gives bit-identical weights on a CPU: batches and learning rate
are functions of the step alone, and everything else is in the resume point.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from sft_tradeoff.models.adapters import attach_adapter
from sft_tradeoff.models.folder import reason
from sft_tradeoff.models.head import check_head
from sft_tradeoff.models.load import without_dropout
from sft_tradeoff.models.tensor_names import persistent_buffers
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.system.allocator import keep_freed_memory
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.provenance import peak_memory_bytes
from sft_tradeoff.training.attention import LONGEST, speed_up_attention
from sft_tradeoff.training.batching import Batch, batch_schedule, collate
from sft_tradeoff.training.epochs import Selection, epoch_ends
from sft_tradeoff.training.forward import can_share_prefix, check_causal
from sft_tradeoff.training.global_batch import KnownLosses, unlabeled
from sft_tradeoff.training.lean_layers import keep_less
from sft_tradeoff.training.master_weights import MasterWeights, round_parameters, training_here
from sft_tradeoff.training.reference import median_sequence_nll
from sft_tradeoff.training.resume import StateFile
from sft_tradeoff.training.schedule import learning_rate_at
from sft_tradeoff.training.sharding import shard
from sft_tradeoff.training.token_loss import LossModule
from sft_tradeoff.training.weighing import Weighing, pull_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
LOG_EVERY_S = 10.0


class TrainingDiverged(UserError, RuntimeError):
    """The loss or the gradient is not finite; nothing was written."""


class Trainer:
    """One training run.

    Args:
        config: The resolved run.
        model: θ0 in float32.
        data: Tokenized training split.
        pad_id: Padding token; never supervised or attended to.
        reference_nll: [ΣT] float32 nats under θ0, one per token of ``data.input_ids``, if the
            method needs them.

    Raises:
        UserError: If the method trains nothing, or the model cannot be trained here.
    """

    def __init__(
        self,
        config: RunConfig,
        model: PreTrainedModel,
        data: TokenizedData,
        pad_id: int,
        reference_nll: np.ndarray | None = None,
    ) -> None:
        self.training = training = training_here(config.training)
        self.config, self.data, self.pad_id = config, data, pad_id
        self.method = METHODS[config.method.name]
        self.options: Any = self.method.options(**config.method.options)
        if self.method.merge:
            raise UserError(
                f"method {self.method.name!r} trains nothing; run 'sft-tradeoff merge' instead"
            )
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.sharded = training.sharding == "fsdp"
        self._prepare_model(model)
        self.token_loss = self._loss_module()
        if self.sharded:
            shard(self.token_loss, training.precision, self.accelerator.device)
        self.weights = MasterWeights(self.model, training.precision)
        if training.precision != "fp32" and not self.sharded:
            self._refuse_bfloat16()
        self.initial: list[torch.Tensor] = []  # θ0's values, if the method pulls towards them
        if self.method.parameter_penalty:
            self.initial = [master.clone() for master in self.weights.masters]
        self.optimizer = torch.optim.AdamW(
            self.weights.masters,
            lr=config.learning_rate,
            betas=training.betas,
            eps=training.epsilon,
            weight_decay=training.weight_decay,
            fused=True,
        )
        self.schedule = batch_schedule(
            data.lengths, training.batch_size, training.epochs, config.seed
        )
        self.epoch_ends = epoch_ends(len(data), training.batch_size, len(self.schedule))
        self.selection: Selection | None = None
        self.known = KnownLosses()
        if reference_nll is not None:
            self.known.reference_nll = torch.from_numpy(reference_nll)
            self.known.reference_median = median_sequence_nll(data, reference_nll)
        self.weighing = Weighing(self.method, self.options, self.known, self.accelerator)
        self.log: list[dict[str, float]] = []
        self.time_s = 0.0

    def _prepare_model(self, model: PreTrainedModel) -> None:
        """Make the model fast and frugal, check that it can be trained, and add adapters."""
        training = self.training
        keep_freed_memory()
        self.model = keep_less(speed_up_attention(without_dropout(model))).eval()
        if not self.sharded:  # FSDP moves a model to the device layer by layer
            self.model.to(self.accelerator.device)
        check_head(self.model)
        on_cpu = self.accelerator.device.type == "cpu"  # so is a model before it is sharded
        self.share_up_to = LONGEST if on_cpu and can_share_prefix(self.model) else 0
        self.model.train()  # gradient checkpointing needs it; no layer draws random numbers
        check_causal(self.model)
        self.adapted = 1.0  # share of θ0's weights that are trained or have an adapter
        if self.method.adapter:
            self.adapted = attach_adapter(self.model, self.method.adapter(self.options))
        if training.gradient_checkpointing:
            self.model.activation_checkpointing_enable()

    def _refuse_bfloat16(self) -> None:
        """Refuse a model whose code mixes dtypes when its parameters are rounded (XGLM)."""
        ids = torch.tensor([[1, 0]], device=self.model.device)
        try:
            with torch.inference_mode():
                self.model.base_model(input_ids=ids, use_cache=False)
        except torch.OutOfMemoryError:  # a RuntimeError too
            raise
        except RuntimeError as error:
            raise UserError(
                f"training.precision: {type(self.model).__name__} does not compute in bfloat16 "
                f"({reason(error)}); set it to fp32, and evaluation.dtype to float32"
            ) from error

    def _loss_module(self) -> LossModule:
        """The loss; it also holds θ0 if the method compares the model with it."""
        reference = None
        keywords: dict[str, Any] = {"top_entropy": "entropy_top20" in self.options.needs}
        if penalty := self.method.penalty:
            keywords["penalty"] = lambda model, theta0: penalty(model, theta0, self.options)
            reference = round_parameters(copy.deepcopy(self.model), self.training.precision)
            reference.eval().requires_grad_(False)
        return LossModule(self.model, reference, **keywords)

    def state_file(self, folder: Path, key: str) -> StateFile:
        """Where this rank keeps its resume points: one file per rank if sharded, else one."""
        if not self.sharded:
            return StateFile(folder, key)
        return StateFile(
            folder, key, self.accelerator.process_index, self.accelerator.num_processes
        )

    def run(self, state: StateFile | None = None) -> None:
        """Train from the resume point (or the start) to the last step."""
        saved = state.load() if state else None
        if saved and self.selection and not self.selection.can_resume(saved["selection"]):
            saved = None
        on_all_ranks = all(gather_object([saved is not None]))
        if saved and on_all_ranks:
            self._restore(saved)
            del saved  # holds a copy of the masters
            logger.info("resuming at step %d of %d", len(self.log), len(self.schedule))
        self._end_epoch()  # a kill may have interrupted it
        last_saved = last_logged = started = time.monotonic()
        before_s = self.time_s
        first = len(self.log)
        buffers = {n: b.clone() for n, b in persistent_buffers(self.model).items()}
        while len(self.log) < len(self.schedule):
            self.log.append(self.optimizer_step(len(self.log)))
            if len(self.log) == first + 1:
                self._refuse_changed_buffers(buffers)
            now = time.monotonic()
            self.time_s = before_s + now - started
            if now - last_logged >= LOG_EVERY_S or len(self.log) == len(self.schedule):
                self._report()
                last_logged = now
            due = now - last_saved >= self.config.training.checkpoint_every_s or self._is_due()
            # Rank 0's clock decides for all: the shards of a resume point belong to one step.
            if state and broadcast_object_list([due])[0]:
                if self.sharded or self.accelerator.is_main_process:
                    state.save(self._state(), len(self.log))
                self.accelerator.wait_for_everyone()
                state.keep_only(len(self.log))
                last_saved = time.monotonic()
            started += self._end_epoch()

    def _is_due(self) -> bool:
        """Whether an epoch has ended, at which the weights are to be looked at."""
        return self.selection is not None and self.selection.is_due(len(self.log))

    def _end_epoch(self) -> float:
        """Let the weights be looked at if an epoch has ended; return the seconds that it took."""
        started = time.monotonic()
        if self.selection and self._is_due():
            self.selection.after_epoch(len(self.log))
        return time.monotonic() - started

    def _refuse_changed_buffers(self, before: dict[str, torch.Tensor]) -> None:
        """Refuse a model whose forward pass changes its buffers.

        The result would depend on how batches are split. Saved buffers are θ0's.
        """
        for name, buffer in persistent_buffers(self.model).items():
            if not torch.equal(buffer, before[name]):
                raise UserError(
                    f"{type(self.model).__name__} changes {name!r} in its forward pass, as batch "
                    "normalization does: the result would depend on how batches are split; use "
                    "another model"
                )

    def final_weights(self) -> dict[str, torch.Tensor]:
        """Whole weights, as :meth:`MasterWeights.whole`; frees the optimizer and the loss.

        Afterwards the trainer can neither train nor resume.
        """
        weights = self.weights.whole()
        del self.optimizer, self.initial, self.token_loss
        return weights

    def optimizer_step(self, step: int) -> dict[str, float]:
        """Take one optimizer step on one global batch and return its log entry."""
        batches = list(self._micro_batches(step))
        if "old_nll" in self.options.needs and step % self.options.refresh_every == 0:
            self._refresh_old(step)
        ahead = self.weighing.look_ahead(batches, self.token_loss)
        n_tokens = self._n_tokens(step)  # N
        losses, weights = [], []
        for i, batch in enumerate(batches):
            loss = self.token_loss(batch)  # n tokens, of N
            weight = ahead[i] if ahead else self.weighing.weights([batch], [loss])[0]  # (n,)
            total = (weight * loss.nll).sum()
            if loss.penalty is not None:
                total = total + loss.penalty.sum()
            (total / n_tokens).backward()  # frees the activations before the next micro-batch
            losses.append(loss.detach())
            weights.append(weight)
        record = self.weighing.record(step, batches, losses, weights)
        self._update(step, record)
        return record

    def _refresh_old(self, step: int) -> None:
        """Make the current model π_old, until the next refresh.

        Stores its losses on the tokens of the steps until then, so no second copy of the weights
        is needed. Costs one forward pass per step.
        """
        last = min(step + self.options.refresh_every, len(self.schedule))
        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        with torch.no_grad():
            for batch in (b for coming in range(step, last) for b in self._micro_batches(coming)):
                found.append((batch.token.cpu(), self.token_loss(batch).nll.cpu()))
        if self.accelerator.num_processes > 1:
            found = gather_object(found)
        self.known.old_nll = torch.full((len(self.data.input_ids),), math.nan)  # (ΣT,)
        for place, nll in found:
            self.known.old_nll[place] = nll

    def _update(self, step: int, record: dict[str, float]) -> None:
        """Sum gradients over ranks, clip, step, publish; refuse a loss that is not finite."""
        masters = self.weights.masters
        if self.accelerator.num_processes > 1 and not self.sharded:  # FSDP has already summed
            for master in masters:
                master.grad = self.accelerator.reduce(master.grad, "sum")
        if self.method.parameter_penalty:
            self._add_parameter_penalty(record)
        total = get_total_norm([master.grad for master in masters if master.grad is not None])
        if self.sharded:  # each rank has the norm of its shards
            total = self.accelerator.reduce(total.square(), "sum").sqrt()
        clip_grads_with_norm_(masters, self.config.training.max_grad_norm, total)
        record["gradient_norm"] = norm = total.item()
        if not (math.isfinite(norm) and math.isfinite(record["loss"])):
            raise TrainingDiverged(
                f"run {self.config.run!r}: loss {record['loss']:.4g}, gradient norm {norm:.4g} at "
                f"step {step + 1} of {len(self.schedule)}; lower learning_rate "
                f"(now {self.config.learning_rate:g}) or raise training.warmup_ratio"
            )
        rate = learning_rate_at(step, len(self.schedule), self.config)
        record["learning_rate"] = rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.weights.publish()

    def _micro_batches(self, step: int) -> Iterator[Batch]:
        """Yield this rank's share of the global batch in micro-batches, longest sequences first.

        All ranks yield equally many, because every exchange between ranks needs all of them. A rank
        without sequences left processes the batch's shortest one without labels.
        """
        rows, size = self.schedule[step], self.config.training.micro_batch_size
        shares = np.array_split(np.arange(len(rows)), self.accelerator.num_processes)
        for start in range(0, len(shares[0]), size):  # the first rank's share is the largest
            places = shares[self.accelerator.process_index][start : start + size]
            if len(places):
                batch = collate(
                    self.data, rows[places], int(places[0]), self.pad_id, self.share_up_to
                )
            else:
                batch = unlabeled(collate(self.data, rows[-1:], 0, self.pad_id))
            yield batch.to(self.accelerator.device)

    def _n_tokens(self, step: int) -> int:
        """Supervised tokens of the global batch."""
        return int(sum(self.data.example(int(row))[1].sum() for row in self.schedule[step]))

    def _add_parameter_penalty(self, record: dict[str, float]) -> None:
        """Add the parameter penalty to the gradients and to the log entry."""
        penalty = self.method.parameter_penalty
        assert penalty
        total = pull_parameters(
            self.weights.masters, self.initial, lambda now, then: penalty(now, then, self.options)
        )
        if self.sharded:
            total = self.accelerator.reduce(total, "sum")
        record["penalty"] += total.item()
        record["loss"] += total.item()

    def _report(self) -> None:
        n_done, n_steps = len(self.log), len(self.schedule)
        tokens = sum(int(self.data.lengths[rows].sum()) for rows in self.schedule[:n_done])
        speed = tokens / max(self.time_s, 1e-9)
        left_s = self.time_s / n_done * (n_steps - n_done)
        progress = f"step {n_done}/{n_steps}  nll {self.log[-1]['nll']:.3f}"
        logger.info("%s  %.0f tokens/s  %.0f s left", progress, speed, left_s)

    def _state(self) -> dict[str, Any]:
        return {
            "masters": self.weights.state(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "old_nll": self.known.old_nll,
            "log": self.log,
            "time_s": self.time_s,
            "selection": self.selection.state() if self.selection else None,
            "tokens": self.weighing.token_log.state() if self.weighing.token_log else None,
        }

    def _restore(self, saved: dict[str, Any]) -> None:
        self.weights.load(saved["masters"])
        self.optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        self.known.old_nll = saved["old_nll"]
        self.log, self.time_s = saved["log"], saved["time_s"]
        if self.selection:
            self.selection.resume(saved["selection"])
        if self.weighing.token_log:
            self.weighing.token_log.resume(saved["tokens"])

    def info(self) -> dict[str, Any]:
        """Measurements for ``train.json``."""
        n_tokens = int(sum(self.data.lengths[rows].sum() for rows in self.schedule))
        n_supervised = sum(self._n_tokens(step) for step in range(len(self.schedule)))
        return {
            "n_examples": len(self.data),
            "n_truncated": int(self.data.truncated.sum()),
            "n_steps": len(self.schedule),
            "adapted_share": self.adapted,
            "compute_type": self.training.compute_type,
            "n_tokens": n_tokens,
            "n_supervised_tokens": n_supervised,
            "tokens_per_s": n_tokens / max(self.time_s, 1e-9),
            "time_s": self.time_s,
            "peak_memory_bytes": peak_memory_bytes(),
            "log": self.log,
        }
