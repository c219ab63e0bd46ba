"""Master weights: float32 parameters that are updated, and a bfloat16 copy that computes.

bfloat16 has 8 bits of precision: near 0.1 its values are 5e-4 apart, so an AdamW step of 1e-6
rounds to nothing. "Small learning rates preserve general ability" would then be an artifact of
rounding. Therefore updates happen in float32, whatever the compute dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.distributed.tensor import DTensor

from sft_tradeoff.system.processor import type_here

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sft_tradeoff.study.spec import TrainingSpec


class MasterWeights:
    """The tensors that the optimizer updates, and their link to the model that computes.

    For a sharded model the masters are this rank's shards, and FSDP makes the copy that computes.

    Args:
        model: Loaded in float32, then cast to the compute dtype here, in place; or already sharded.
        precision: ``fp32`` computes in float32; ``fp32_master`` computes in bfloat16 and updates
            float32 masters; ``bf16_pure`` updates bfloat16 weights (to demonstrate the artifact).
    """

    def __init__(self, model: PreTrainedModel, precision: str) -> None:
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.compute = [parameter for _, parameter in trained]
        self.sharded = isinstance(self.compute[0], DTensor)
        self.two_copies = precision == "fp32_master" and not self.sharded
        if self.two_copies:
            self.masters = [p.detach().clone() for p in self.compute]
        if not self.sharded:
            round_parameters(model, precision)
        if not self.two_copies:
            self.masters = [_local(p.detach()) for p in self.compute]
        for parameter, master in zip(self.compute, self.masters, strict=True):
            parameter.register_post_accumulate_grad_hook(_move_gradient_to(master))

    def publish(self) -> None:
        """Copy the updated masters into the model that computes; the only rounding."""
        if self.two_copies:
            with torch.no_grad():
                torch._foreach_copy_([*self.compute], self.masters)

    def state(self) -> dict[str, torch.Tensor]:
        """Masters by parameter name; for a sharded model, this rank's shards."""
        return dict(zip(self.names, self.masters, strict=True))

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what :meth:`state` returned."""
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(state[name])
        self.publish()

    @torch.no_grad()
    def whole(self) -> dict[str, torch.Tensor]:
        """Whole masters by parameter name; all ranks must call it.

        For a sharded model rank 0 gets them and the others get nothing.
        """
        if not self.sharded:
            return self.state()
        found = {}
        for name, parameter in zip(self.names, self.compute, strict=True):
            assert isinstance(parameter, DTensor)
            value = parameter.full_tensor()  # one at a time: the device need not hold them all
            if torch.distributed.get_rank() == 0:
                found[name] = value.cpu()
        return found


def training_here(training: TrainingSpec) -> TrainingSpec:
    """The settings that this machine trains with.

    Where bfloat16 products are slow, ``precision: fp32`` stands in for ``fp32_master``.
    ``bf16_pure``, which is there to show what rounding does, stays.
    """
    if training.precision == "fp32_master" and type_here("bfloat16") == "float32":
        return training.model_copy(update={"precision": "fp32"})
    return training


def round_parameters(model: PreTrainedModel, precision: str) -> PreTrainedModel:
    """Cast a model's parameters to the compute dtype, in place.

    Parameters only: rotary frequencies are buffers, and if they were rounded, training would encode
    positions differently from evaluation.
    """
    if precision != "fp32":
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
    return model


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's shard, sharing its memory; the tensor itself if it is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _move_gradient_to(master: torch.Tensor) -> Callable[[torch.Tensor], None]:
    """Return a hook that adds a parameter's gradient to its master's, and frees it.

    Gradients of micro-batches are thus summed in the master's dtype.
    """

    def hook(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        gradient = _local(parameter.grad)
        parameter.grad = None
        if master.grad is None:
            master.grad = gradient.to(master.dtype)
        else:
            master.grad += gradient

    return hook
