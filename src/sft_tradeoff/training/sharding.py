"""FSDP (``fully_shard``): each rank keeps a shard of every parameter, gradient and AdamW moment.

A layer's shards are gathered in the compute dtype while the layer runs. Beyond its shards a GPU
holds one or two layers, the embeddings and the head. Each rank gets its shard of the gradients,
summed over ranks in float32.
"""

from __future__ import annotations

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from sft_tradeoff.system.console import UserError
from sft_tradeoff.training.token_loss import LossModule


def shard(loss: LossModule, precision: str, device: torch.device) -> None:
    """Shard the parameters of a model, and of its reference, over all ranks, in place.

    Parameters move to the device one layer at a time, so the model should still be on the CPU.

    Args:
        loss: In float32.
        precision: See :class:`MasterWeights`; with ``fp32_master`` the shards are the masters and
            are gathered in bfloat16.
        device: Where this rank computes.
    """
    layers, mixed = _layers(loss), precision == "fp32_master"
    for parameter in loss.parameters():
        if precision == "bf16_pure" or (mixed and not parameter.requires_grad):
            parameter.data = parameter.data.to(torch.bfloat16)
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if mixed else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # rotary angles stay float32, as without sharding
    )
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for part in [*layers, loss]:
        fully_shard(part, mesh=mesh, mp_policy=policy)
        assert isinstance(part, FSDPModule)
        # Each rank divides its loss by the tokens of the global batch, so gradients are summed
        # over ranks, not averaged.
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)


def _layers(loss: LossModule) -> list[torch.nn.Module]:
    """Decoder layers of the model and its reference, as the architecture names them."""
    names = set(loss.model._no_split_modules or ())
    layers = [module for module in loss.modules() if type(module).__name__ in names]
    if not layers:
        raise UserError(
            f"{type(loss.model).__name__} does not name its layers (_no_split_modules), so it "
            "cannot be sharded; set training.sharding to none"
        )
    return layers
