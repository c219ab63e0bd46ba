"""Layers that keep less for the backward pass on a CPU: norms and gated feed-forwards.

Written with PyTorch's operations, a norm keeps its input in float32, the normalized value and the
output; a feed-forward keeps gate, activated gate, up and their product. Everything but the inputs
is cheap to compute again. And what is worked on a few rows at a time leaves no large holes behind:
glibc never gives a freed aligned block to a request of the same size, so forward passes that
allocate and free between tensors that stay took half as much again as they kept.
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

PIECE = 2**18  # elements worked on at one time; in float32 about a core's cache
FEED_FORWARD = {"gate_proj", "up_proj", "down_proj", "act_fn"}


def _pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Cut contiguous tensors [..., C] into the same groups of rows [n, C] (views)."""
    flat = [t.flatten(0, -2) for t in tensors]
    n_rows = max(1, PIECE // flat[0].shape[-1])
    return zip(*(t.split(n_rows) for t in flat), strict=True)


class Norm(torch.autograd.Function):
    """w · x / √(mean x² + ε), normalized in float32 and rounded before w, as Llama does.

    Of [..., C]; keeps its input and the inverse roots.
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
        """Gradients of input and weight, in their types; sums are float32."""
        x, weight, inverse = ctx.saved_tensors
        d_x = torch.empty_like(x)
        d_weight = torch.zeros_like(weight, dtype=torch.float32)
        exact_weight = weight.to(torch.float32)
        for piece, root, d_piece, result in _pieces(x, inverse, d_out.contiguous(), d_x):
            normal = piece * root  # (n, C) float32
            d_exact = d_piece.to(torch.float32)
            d_weight += (d_exact * normal).sum(0)
            d_normal = d_exact * exact_weight
            shift = torch.linalg.vecdot(d_normal, normal)[:, None] / normal.shape[-1]
            result.copy_(d_normal.addcmul_(normal, shift, value=-1).mul_(root))
        return d_x, d_weight.to(weight.dtype), None


class GatedOutput(torch.autograd.Function):
    """(silu(gate) · up) Wᵀ of gate and up [..., I] and W [H, I]; keeps these three alone."""

    @staticmethod
    def forward(
        ctx: Any, gate: torch.Tensor, up: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Return [..., H]."""
        ctx.save_for_backward(gate, up, weight)
        return linear(silu(gate).mul_(up), weight)

    @staticmethod
    def backward(ctx: Any, d_out: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gradients of gate, up and W."""
        gate, up, weight = ctx.saved_tensors
        d_gate = d_out @ weight  # (..., I), first that of the product, replaced piece by piece
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
    if not x.is_cpu or type(self.down_proj) is not torch.nn.Linear:  # adapters were put in
        return type(self).forward(self, x)
    out: torch.Tensor = GatedOutput.apply(self.gate_proj(x), self.up_proj(x), self.down_proj.weight)
    return out


def keep_less(model: PreTrainedModel) -> PreTrainedModel:
    """Let norms and feed-forwards keep less on a CPU, in place, if they compute just this.

    Whether they do is tried on one layer of each kind: the same values, bit for bit, or the
    model's own code stays.
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
    """Which of ``norm`` and ``feed_forward`` a model has of the kinds that keep less.

    Judged without computing, so that a model without storage will do.
    """
    found = {_replacement(module) for module in model.modules()}
    names = {_norm: "norm", _feed_forward: "feed_forward"}
    return frozenset(name for own, name in names.items() if own in found)


def _replacement(module: torch.nn.Module) -> Any:
    """What may stand for a module's forward function, judged by its parts."""
    names = {name for name, _ in module.named_parameters()}
    if len(inspect.signature(module.forward).parameters) != 1:  # a gated norm reads a gate, too
        return None
    if names == {"weight"} and module.weight.ndim == 1 and hasattr(module, "variance_epsilon"):
        return _norm
    if {name for name, _ in module.named_children()} == FEED_FORWARD:
        weights = {f"{name}.weight" for name in FEED_FORWARD - {"act_fn"}}
        return _feed_forward if names == weights else None
    return None


@torch.no_grad()
def _same(module: torch.nn.Module, own: Any) -> bool:
    """Compare a module's values with its replacement's, for random inputs.

    A norm's in bfloat16 too, where it matters when it is rounded; a feed-forward has no choice.
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
