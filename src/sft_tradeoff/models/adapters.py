"""Low-rank adapters with peft: attached before training, merged into θ0 after it.

The evaluated model is a plain one, so all later stages are the same for every method.
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


def attach_adapter(model: PreTrainedModel, keywords: dict[str, Any]) -> float:
    """Attach adapters to a model, in place; afterwards only they require gradients.

    The model keeps its class, so body and head stay where the loss looks for them. Initial values
    come from the global random generator: seed it first.

    Args:
        model: θ0 in float32, which becomes the dtype of the adapters.
        keywords: For peft's ``LoraConfig`` (:attr:`Method.adapter`).

    Returns:
        Share of θ0's weights in layers with an adapter; the other weights stay as they are.

    Raises:
        UserError: If peft does not support the model.
    """
    inject(model, keywords)
    share = adapted_share(model)
    logger.info("adapters change %.0f %% of the weights of %s", 100 * share, type(model).__name__)
    if names := not_adapted(model):
        logger.warning(
            "warning: %d layers of %s get no adapters and are not trained: %s",
            len(names),
            type(model).__name__,
            listing(names, limit=3),
        )
    return share


def merged_weights(
    base_model: Path, keywords: dict[str, Any], adapter: dict[str, torch.Tensor]
) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """Merge trained adapters into θ0: W₀ + (α/r)·B·A (arXiv 2106.09685, equation 3).

    θ0 is read again, because the model that trained may hold it rounded to bfloat16.

    Args:
        base_model: Folder of θ0.
        keywords: As for :func:`attach_adapter`.
        adapter: Parameter name in the adapted model -> trained value.

    Returns:
        The plain model, and its float32 weights by parameter name, as ``save_model`` expects them.

    Raises:
        ValueError: If the trained values belong to other adapters.
    """
    model = load_model(base_model, torch.float32)
    tuner = inject(model, keywords)
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if names != adapter.keys():
        odd = sorted(names ^ adapter.keys())
        raise ValueError(f"trained and attached adapters differ in {odd[0]!r} ({len(odd)} in all)")
    model.load_state_dict(adapter, strict=False)  # it has none of θ0's parameters
    plain: PreTrainedModel = tuner.merge_and_unload()
    return plain, {name: parameter.detach() for name, parameter in plain.named_parameters()}


def inject(model: PreTrainedModel, keywords: dict[str, Any]) -> Any:
    """Attach adapters in place and return the tuner, which can merge them again.

    Raises:
        UserError: If peft does not support the model.
    """
    from peft import LoraConfig, LoraModel  # takes seconds, and most runs need no adapters

    other = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not _is_product(module)
    ]
    try:
        tuner = LoraModel(model, LoraConfig(**keywords, exclude_modules=other or None), "default")
    except ValueError as error:
        raise UserError(
            f"peft has no adapters for {type(model).__name__} ({error}); remove this method from "
            "the study"
        ) from error
    return tuner


def _is_product(layer: torch.nn.Linear) -> bool:
    """Whether a layer returns a matrix product; routers (PhiMoE, Llama 4) are subclasses too."""
    if type(layer).forward is torch.nn.Linear.forward:
        return True
    weights = {name: torch.empty_like(p, device="meta") for name, p in layer.named_parameters()}
    x = torch.empty(2, layer.in_features, dtype=layer.weight.dtype, device="meta")
    try:
        found = torch.func.functional_call(layer, weights, (x,))
    except RuntimeError:  # of another shape
        return False
    return isinstance(found, torch.Tensor) and found.shape == (2, layer.out_features)


def adapted_share(model: PreTrainedModel) -> float:
    """Share of θ0's weights in layers with an adapter, of a model with adapters."""
    sizes = {name: p.numel() for name, p in model.named_parameters() if "lora_" not in name}
    return sum(n for name, n in sizes.items() if ".base_layer." in name) / sum(sizes.values())


def not_adapted(model: PreTrainedModel) -> list[str]:
    """Names of linear layers, and of experts stored as one tensor, that have no adapter.

    In a mixture of experts, peft finds routed experts by the names of their layers and leaves out
    dense layers and shared experts with the same names. For architectures that it does not know, it
    leaves out the experts.
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
