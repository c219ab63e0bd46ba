"""Compute in bfloat16 with the weights as trained, each stored as a sum of two bfloat16 numbers.

A small learning rate moves most weights by less than the spacing of bfloat16 numbers, so rounding
the weights would score another model than the one that was trained. Here W = hi + lo, with hi = W
rounded to bfloat16 and lo = W - hi rounded to bfloat16: about 16 bits of mantissa, and an update of
a θ0 that bfloat16 represents keeps at least 8 bits of its own, however small it is.

Both parts enter one product, [x, x] · [hi, lo]ᵀ, whose sums are float32 and rounded once. Two
products that are added would not do: the first is rounded to bfloat16 before the second, much
smaller than the rounding error, is added. Activations between the products are float32, except
where attention computes in bfloat16 (autocast).
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import linear

from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tensor_names import persistent_buffers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

KIND = torch.bfloat16
ROUNDING = 0.05  # relative error of logits that two parts explain, with a wide margin


def split_weight(weight: torch.Tensor) -> torch.Tensor:
    """Return [hi | lo] of a weight [out, in] in bfloat16: [out, 2·in], or [out, in] if lo is 0."""
    high = weight.to(KIND)
    low = (weight - high.to(weight.dtype)).to(KIND)
    return torch.cat([high, low], dim=1) if low.any() else high


class _Inputs:
    """The last input of a model's linear layers, rounded; several layers in turn have the same.

    Args:
        exact: Whether layers compute in float32 instead, to try the model.
    """

    def __init__(self) -> None:
        self.exact = False
        self._source: Callable[[], torch.Tensor | None] = lambda: None
        self._rounded: dict[int, torch.Tensor] = {}

    def rounded(self, x: torch.Tensor, n_parts: int) -> torch.Tensor:
        """Return x [..., in] in bfloat16, repeated for each part: [..., n_parts·in]."""
        if self._source() is not x:
            self._source, self._rounded = weakref.ref(x), {}
        if n_parts not in self._rounded:
            self._rounded[n_parts] = torch.cat([x.to(KIND)] * n_parts, dim=-1)
        return self._rounded[n_parts]


class TwoPartLinear(nn.Module):
    """A linear layer whose weight is the sum of one or two bfloat16 parts.

    Args:
        parts: [out, in] or [out, 2·in], as of :func:`split_weight`.
        layer: The float32 layer, for its size and bias.
        inputs: Shared by all layers of a model.
    """

    def __init__(self, parts: nn.Parameter, layer: nn.Linear, inputs: _Inputs) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        # Not called weight: code that reads a layer's weight itself must fail, not compute with it.
        self.parts, self.bias = parts, layer.bias
        self.inputs = inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., out] in bfloat16; in float32 if there is a bias, which is not rounded."""
        if self.inputs.exact:
            return linear(x, _sum(self.parts, self.in_features), self.bias)
        x = self.inputs.rounded(x, self.parts.shape[1] // self.in_features)
        out = linear(x, self.parts)
        return out if self.bias is None else out + self.bias


class TwoPartEmbedding(nn.Module):
    """The embedding of a model whose head has the same weight: rows are hi + lo in float32."""

    def __init__(self, parts: nn.Parameter, n_features: int) -> None:
        super().__init__()
        self.parts, self.n_features = parts, n_features

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return [..., H] float32 for ids [...]."""
        return _sum(self.parts[ids], self.n_features)


def _sum(parts: torch.Tensor, size: int) -> torch.Tensor:
    """Sum of the parts [..., parts · size] in float32: [..., size]."""
    return parts.float().unflatten(-1, (-1, size)).sum(-2)


def load_in_two_parts(folder: Path) -> PreTrainedModel:
    """Load a model that computes in bfloat16 with its weights as trained, for evaluation.

    A model with other matrices than those of linear layers and embeddings (Mamba's, fused experts,
    GPT-2's), or whose code reads the weights of its linear layers, computes in float32 instead.

    Raises:
        ModelError: As :func:`sft_tradeoff.models.load.load_model`.
    """
    model = load_model(folder, torch.float32).eval()
    name = type(model).__name__
    if other := _other_matrix(model):
        logger.info("%s computes in float32, because %s is not of a linear layer", name, other)
        return model
    if _computes_in_two_parts(model):
        return model
    logger.info("%s computes in float32, because it cannot compute in bfloat16", name)
    return load_model(folder, torch.float32).eval()


def _computes_in_two_parts(model: PreTrainedModel) -> bool:
    """Split a float32 model, and try whether it still computes the same.

    All weights of an architecture must get the same answer: a run is scored like its θ0. So the
    parts are compared in float32, where they differ little from the weights. How much bfloat16
    changes the logits of a few tokens depends on the weights.
    """
    wanted = _logits(model)
    inputs = split_model(model)
    try:
        inputs.exact = True
        found = _logits(model)
        inputs.exact = False
        _logits(model)
    except (AttributeError, RuntimeError):  # it needs layers with a weight, or one dtype throughout
        return False
    return bool((found - wanted).norm() <= ROUNDING * wanted.norm())


def _other_matrix(model: PreTrainedModel) -> str | None:
    """Name of a parameter of two or more dimensions outside linear layers and embeddings."""
    for name, module in model.named_modules():
        known = isinstance(module, nn.Embedding) or type(module) is nn.Linear
        for own, parameter in module.named_parameters(name, recurse=False):
            if parameter.ndim > 1 and not known:
                return own
    return None


@torch.inference_mode()
def _logits(model: PreTrainedModel) -> torch.Tensor:
    """Logits [1, T, V] float32 of a few tokens."""
    ids = torch.arange(min(8, model.config.get_text_config().vocab_size), device=model.device)
    found: torch.Tensor = model(input_ids=ids[None], use_cache=False).logits
    return found.float()


@torch.no_grad()
def split_model(model: PreTrainedModel) -> _Inputs:
    """Replace the linear layers of a float32 model by two-part ones, in place.

    Embeddings, norms and biases stay float32; an embedding with the head's weight shares its parts.
    """
    # On a GPU sums of several pieces of a product would be rounded before they are added.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    inputs = _Inputs()
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = type(embedding) is nn.Embedding and embedding.weight is getattr(head, "weight", None)
    new: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()
    # A layer that was replaced is freed at once: two copies of all weights may not fit.
    for parent in [module for module in model.modules() if any(module.children())]:
        for name, layer in parent.named_children():
            if type(layer) is nn.Linear and layer not in new:
                parts = nn.Parameter(split_weight(layer.weight), requires_grad=False)
                new[layer] = TwoPartLinear(parts, layer, inputs)
                if tied and layer is head:
                    new[embedding] = TwoPartEmbedding(parts, layer.in_features)
            if layer in new:
                setattr(parent, name, new[layer])
    if tied:
        model.set_input_embeddings(new[embedding])
        vars(model)["tie_weights"] = lambda *_, **__: None  # they are already, and cannot be again
    for module in {model, model.base_model}:
        _use_autocast(module, inputs)
    return inputs


def _use_autocast(module: nn.Module, inputs: _Inputs) -> None:
    """Make attention and other products between activations compute in bfloat16."""
    forward = module.forward

    @functools.wraps(forward)
    def in_bfloat16(*arguments: Any, **keywords: Any) -> Any:
        device = next(module.parameters()).device.type
        with torch.autocast(device, KIND, enabled=not inputs.exact, cache_enabled=False):
            return forward(*arguments, **keywords)

    module.forward = in_bfloat16


@contextmanager
def in_float32(model: PreTrainedModel) -> Iterator[None]:
    """Let a model compute in float32, also one that was loaded to compute in bfloat16."""
    layers = [module for module in model.modules() if isinstance(module, TwoPartLinear)]
    for layer in layers:
        layer.inputs.exact = True
    try:
        yield
    finally:
        for layer in layers:
            layer.inputs.exact = False


def compute_dtype(model: PreTrainedModel) -> torch.dtype:
    """Return the dtype in which a model's attention computes."""
    split = any(isinstance(module, TwoPartLinear) for module in model.modules())
    return KIND if split else model.dtype


@torch.no_grad()
def use_shipped_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Round all weights of a loaded model to bfloat16, in place, as most models are shipped.

    The dtype of the parameters and of the computation stays.
    """
    for module in model.modules():
        if isinstance(module, TwoPartLinear):
            module.parts.data = module.parts[:, : module.in_features].clone()
    for tensor in [*model.parameters(), *persistent_buffers(model).values()]:
        if tensor.is_floating_point():
            tensor.copy_(tensor.to(KIND))
    return model
