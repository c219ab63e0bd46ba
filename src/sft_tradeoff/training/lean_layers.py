"""Norms and gated feed-forwards that save fewer tensors for the backward pass, on a CPU.

Autograd saves what each operation needs for its gradient. For a norm written in PyTorch that is the
input in float32, the normalized value and the output; for a gated feed-forward the gate, the
activated gate, up and their product. The layers here save their inputs and compute the rest again,
which is cheap.

They also work on a few rows at a time, against fragmentation: glibc never reuses a freed aligned
block for a request of the same size, so a forward pass that frees temporaries between tensors that
stay used half as much memory again as it kept.
"""

from __future__ import annotations

import copy
import inspect
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear, silu

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PIECE = 2**18  # elements processed at a time; in float32, about one core's cache
FEED_FORWARD = {"gate_proj", "up_proj", "down_proj", "act_fn"}


def _pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Split contiguous tensors [..., C] into the same groups of rows [n, C] (views)."""
    flat = [t.flatten(0, -2) for t in tensors]
    n_rows = max(1, PIECE // flat[0].shape[-1])
    return zip(*(t.split(n_rows) for t in flat), strict=True)


class Norm(torch.autograd.Function):
    """RMSNorm, w · x̂ with x̂ = x · r and r = 1 / √(mean x² + ε), over the last dimension.

    Normalized in float32 and rounded before the product with w, as in Llama. Saves its input
    [..., C] and r [..., 1]. With g = w · dy, the gradients are

        dw = Σ dy · x̂,   dx = r · (g − x̂ · mean(g · x̂)).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """Normalize the last dimension."""
        x = x.contiguous()
        out = torch.empty_like(x)
        inverse = x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)
        for piece, result, root in _pieces(x, out, inverse):
            exact = piece.to(torch.float32)
            torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + epsilon, out=root)
            torch.mul(weight, (exact * root).to(x.dtype), out=result)
        ctx.save_for_backward(x, weight, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input and weight, in their dtypes; sums are float32."""
        x, weight, inverse = ctx.saved_tensors
        d_x = torch.empty_like(x)
        d_weight = torch.zeros_like(weight, dtype=torch.float32)
        exact_weight = weight.to(torch.float32)
        for piece, root, d_piece, result in _pieces(x, inverse, d_out.contiguous(), d_x):
            normal = piece * root  # x̂, (n, C) float32
            d_exact = d_piece.to(torch.float32)
            d_weight += (d_exact * normal).sum(0)
            d_normal = d_exact * exact_weight  # g
            shift = torch.linalg.vecdot(d_normal, normal)[:, None] / normal.shape[-1]
            result.copy_(d_normal.addcmul_(normal, shift, value=-1).mul_(root))
        return d_x, d_weight.to(weight.dtype), None


class GatedOutput(torch.autograd.Function):
    """(silu(gate) · up) Wᵀ of gate and up [..., I] and W [H, I]; saves only these three."""

    @staticmethod
    def forward(
        ctx: Any, gate: torch.Tensor, up: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Return [..., H]."""
        ctx.save_for_backward(gate, up, weight)
        return linear(silu(gate).mul_(up), weight)

    @staticmethod
    def backward(ctx: Any, d_out: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the gradients of gate, up and W."""
        gate, up, weight = ctx.saved_tensors
        d_gate = d_out @ weight  # (..., I); the product's gradient, overwritten piece by piece
        d_up, product = torch.empty_like(d_gate), torch.empty_like(d_gate)
        for g, u, d_g, d_u, p in _pieces(gate, up, d_gate, d_up, product):
            activated = silu(g)
            torch.mul(activated, u, out=p)
            torch.mul(activated, d_g, out=d_u)
            d_g.copy_(torch.ops.aten.silu_backward(d_g * u, g))
        d_weight = d_out.flatten(0, -2).T @ product.flatten(0, -2)
        return d_gate, d_up, d_weight


def _norm(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    if not hidden_states.is_cpu:
        return type(self).forward(self, hidden_states)
    out: torch.Tensor = Norm.apply(hidden_states, self.weight, self.variance_epsilon)
    return out


def _feed_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    if not x.is_cpu or type(self.down_proj) is not torch.nn.Linear:  # it has adapters
        return type(self).forward(self, x)
    out: torch.Tensor = GatedOutput.apply(self.gate_proj(x), self.up_proj(x), self.down_proj.weight)
    return out


def keep_less(model: PreTrainedModel) -> PreTrainedModel:
    """Make norms and feed-forwards save less on a CPU, in place, if they compute exactly this.

    Tried on one layer of each kind: unless the values are the same bit for bit, the model's own
    code stays.
    """
    fits: dict[tuple[type, Any], bool] = {}
    for module in model.modules():
        own = _replacement(module)
        if own is None:
            continue
        kind = (type(module), own)
        if kind not in fits:
            fits[kind] = _same(module, own)
        if fits[kind]:
            module.forward = types.MethodType(own, module)
    return model


def lean_parts(model: torch.nn.Module) -> frozenset[str]:
    """Which of ``norm`` and ``feed_forward`` in a model :func:`keep_less` can replace.

    Judged by their parameters alone, so the model needs no storage (meta device).
    """
    found = {_replacement(module) for module in model.modules()}
    names = {_norm: "norm", _feed_forward: "feed_forward"}
    return frozenset(name for own, name in names.items() if own in found)


def _replacement(module: torch.nn.Module) -> Any:
    """Forward function that may replace a module's own, judged by its parameters."""
    names = {name for name, _ in module.named_parameters()}
    if len(inspect.signature(module.forward).parameters) != 1:  # a gated norm has a second input
        return None
    if names == {"weight"} and module.weight.ndim == 1 and hasattr(module, "variance_epsilon"):
        return _norm
    if {name for name, _ in module.named_children()} == FEED_FORWARD:
        weights = {f"{name}.weight" for name in FEED_FORWARD - {"act_fn"}}
        return _feed_forward if names == weights else None
    return None


@torch.no_grad()
def _same(module: torch.nn.Module, own: Any) -> bool:
    """Whether a module and its replacement give the same values, bit for bit, for random inputs.

    A norm is also compared in bfloat16, which shows at which point it rounds.
    """
    dtypes = [next(module.parameters()).dtype]
    if own is _norm:
        module, dtypes = copy.deepcopy(module), [*dtypes, torch.bfloat16]
    for dtype in dtypes:
        weight = next(module.to(dtype).parameters())
        x = torch.randn(3, weight.shape[-1], generator=torch.Generator().manual_seed(0))
        x = x.to(weight.device, dtype)
        if not torch.equal(module.forward(x), own(module, x)):
            return False
    return True
