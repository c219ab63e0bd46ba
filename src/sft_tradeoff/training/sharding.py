"""FSDP: each rank keeps a part of every parameter, gradient and optimizer state (``fully_shard``).

A layer's parts are gathered in the compute type while the layer runs, so that beyond its share a
GPU holds one or two layers, the embeddings and the head. Gradients come back as shards, summed over
ranks in float32.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from sft_tradeoff.system.console import UserError
from sft_tradeoff.training.token_loss import LossModule

if TYPE_CHECKING:
    from sft_tradeoff.study.spec import TrainingSpec


def shard(loss: LossModule, precision: str, device: torch.device) -> None:
    """Spread the parameters of a model, and of its reference, over all ranks, in place.

    Whole parameters visit the device one layer at a time: keep the model on the CPU until then.

    Args:
        loss: In float32.
        precision: See :class:`MasterWeights`; with ``fp32_master`` the shards are the masters, and
            what is gathered from them is bfloat16.
        device: Where this rank computes.
    """
    layers, mixed = _layers(loss), precision == "fp32_master"
    for parameter in loss.parameters():
        if precision == "bf16_pure" or (mixed and not parameter.requires_grad):
            parameter.data = parameter.data.to(torch.bfloat16)
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if mixed else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # rotary angles stay what they are without sharding
    )
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for part in [*layers, loss]:
        fully_shard(part, mesh=mesh, mp_policy=policy)
        assert isinstance(part, FSDPModule)
        # The loss is divided by the tokens of the global batch: gradients add up over ranks.
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)


def _layers(loss: LossModule) -> list[torch.nn.Module]:
    """Decoder layers, of the reference too, as the architecture names them."""
    names = set(loss.model._no_split_modules or ())
    layers = [module for module in loss.modules() if type(module).__name__ in names]
    if not layers:
        raise UserError(
            f"{type(loss.model).__name__} does not say what its layers are (_no_split_modules), "
            "so it cannot be sharded; set training.sharding to none"
        )
    return layers


def check_processes(training: TrainingSpec) -> None:
    """Compare the configured number of processes with the running one, before anything is loaded.

    Raises:
        UserError: If they differ: a sharded run would not fit, or GPUs would do each other's work.
    """
    wanted, running = training.processes, int(os.environ.get("WORLD_SIZE", "1"))
    if running != wanted:
        raise UserError(
            f"training.processes is {wanted}, but {running} run; start with 'accelerate launch "
            f"--multi_gpu --num_processes {wanted} -m sft_tradeoff train ...', or change it"
        )
