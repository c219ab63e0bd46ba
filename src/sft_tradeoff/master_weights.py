"""Float32 parameters beside a bfloat16 copy that computes.

In pure bfloat16 an AdamW step of 1e-6 on a weight of 0.1 rounds to nothing (the spacing of
bfloat16 there is 5e-4), and "small learning rates preserve general ability" would be an artifact.
So updates happen in float32 whatever the compute type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class MasterWeights:
    """The tensors that the optimiser updates, and their link to the model that computes.

    Args:
        model: Loaded in float32; cast in place to the compute type.
        precision: ``fp32`` computes in float32; ``fp32_master`` computes in bfloat16 and updates
            float32 masters; ``bf16_pure`` updates bfloat16 weights (only to show the artifact).
    """

    def __init__(self, model: PreTrainedModel, precision: str) -> None:
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.compute = [parameter for _, parameter in trained]
        if precision == "fp32_master":
            self.masters = [p.detach().clone() for p in self.compute]
        if precision != "fp32":
            # Parameters only: rotary frequencies are buffers, and rounding them would turn the
            # positions of training away from those of evaluation.
            for parameter in model.parameters():
                parameter.data = parameter.data.to(torch.bfloat16)
        if precision != "fp32_master":
            self.masters = [p.detach() for p in self.compute]
        for parameter, master in zip(self.compute, self.masters, strict=True):
            parameter.register_post_accumulate_grad_hook(_move_gradient_to(master))

    def publish(self) -> None:
        """Copy the updated masters to the computing model (rounding once)."""
        if any(
            p.data_ptr() != m.data_ptr() for p, m in zip(self.compute, self.masters, strict=True)
        ):
            with torch.no_grad():
                torch._foreach_copy_([*self.compute], self.masters)

    def state(self) -> dict[str, torch.Tensor]:
        """Masters by parameter name."""
        return dict(zip(self.names, self.masters, strict=True))

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what :meth:`state` returned."""
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(state[name])
        self.publish()


def _move_gradient_to(master: torch.Tensor) -> Callable[[torch.Tensor], None]:
    """Accumulate micro-batch gradients in the master's type and free the compute copy at once."""

    def hook(parameter: torch.Tensor) -> None:
        gradient = parameter.grad
        parameter.grad = None
        assert gradient is not None
        if master.grad is None:
            master.grad = gradient.to(master.dtype)
        else:
            master.grad += gradient

    return hook
