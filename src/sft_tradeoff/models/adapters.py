"""Low-rank adapters with peft: put into a model before training, folded into θ0 after it.

The evaluated model is a plain one, so that every later stage stays the same for all methods.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sft_tradeoff.models.load import load_model
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.text import listing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


def attach_adapter(model: PreTrainedModel, keywords: dict[str, Any]) -> None:
    """Put adapters into a model, in place; afterwards only they require gradients.

    The class of the model stays, so the loss finds body and head where they were. Initial values
    come from the global generator: seed it first.

    Args:
        model: θ0 in float32, which is the type that the adapters get.
        keywords: Of peft's ``LoraConfig`` (:attr:`Method.adapter`).
    """
    _inject(model, keywords)
    if names := not_adapted(model):
        logger.warning(
            "warning: the adapters do not reach %d layers of %s, which stay as they are: %s",
            len(names), type(model).__name__, listing(names, limit=3),
        )  # fmt: skip


def merged_weights(
    base_model: Path, keywords: dict[str, Any], adapter: dict[str, torch.Tensor]
) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """Fold trained adapters into θ0: W₀ + (α/r)·B·A (arXiv 2106.09685, equation 3).

    θ0 is read again, because the model that trained may hold it rounded to bfloat16.

    Args:
        base_model: Folder of θ0.
        keywords: Those that :func:`attach_adapter` got.
        adapter: Parameter name in the adapted model -> trained value.

    Returns:
        The plain model, and its float32 weights by parameter name, as ``save_model`` takes them.

    Raises:
        ValueError: If the trained values belong to other adapters.
    """
    model = load_model(base_model, torch.float32)
    tuner = _inject(model, keywords)
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if names != adapter.keys():
        odd = sorted(names ^ adapter.keys())
        raise ValueError(f"trained and attached adapters differ in {odd[0]!r} ({len(odd)} in all)")
    model.load_state_dict(adapter, strict=False)  # of θ0's parameters none is given
    plain: PreTrainedModel = tuner.merge_and_unload()
    return plain, {name: parameter.detach() for name, parameter in plain.named_parameters()}


def _inject(model: PreTrainedModel, keywords: dict[str, Any]) -> Any:
    """Return the tuner, which alone can fold what it put into the model."""
    from peft import LoraConfig, LoraModel  # seconds, and most runs need none

    try:
        tuner = LoraModel(model, LoraConfig(**keywords), "default")
    except ValueError as error:
        raise UserError(
            f"peft has no adapters for {type(model).__name__} ({error}); leave this method out"
        ) from error
    return tuner


def not_adapted(model: PreTrainedModel) -> list[str]:
    """Names of linear layers, and of experts that are one tensor, that adapters do not reach.

    Of a mixture of experts peft adapts the routed ones by the names of their layers, and leaves out
    dense layers and shared experts that have the same names; or the experts, where it knows none.
    """
    head = model.get_output_embeddings()
    inside = re.compile(r"\.(base_layer|lora_[A-Za-z_]+)\b")
    linear = [
        name
        for name, module in model.named_modules()
        if type(module) is torch.nn.Linear and module is not head and not inside.search(name)
    ]
    stacked = [n for n, p in model.named_parameters() if p.ndim == 3 and 1 not in p.shape]
    return linear + [name for name in stacked if not inside.search(name)]
