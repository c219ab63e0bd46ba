"""Norms and feed-forwards that save less compute the same as the model's own."""

import math

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextRMSNormGated

from sft_tradeoff.models.load import load_model
from sft_tradeoff.training import lean_layers
from sft_tradeoff.training.lean_layers import GatedOutput, Norm, keep_less


@pytest.fixture(autouse=True, params=[1, 2**18])
def piece(request, monkeypatch):
    """One row at a time, and all rows at once."""
    monkeypatch.setattr(lean_layers, "PIECE", request.param)


def test_norm_by_hand():
    """x = (3, 4), ε = 0: mean square 12.5, so x / √12.5 · w = (0.8485·1, 1.1314·10).

    Of y₁ = x₁ / r, r = √((x₁² + x₂²)/2): ∂y₁/∂x₁ = 1/r − x₁²/(2r³) = x₂²/(2r³) = 8/12.5^1.5 and
    ∂y₁/∂x₂ = −x₁x₂/(2r³) = −6/12.5^1.5.
    """
    x = torch.tensor([[3.0, 4.0]], requires_grad=True)
    weight = torch.tensor([1.0, 10.0], requires_grad=True)
    out = Norm.apply(x, weight, 0.0)
    torch.testing.assert_close(out, torch.tensor([[3.0, 40.0]]) / math.sqrt(12.5))
    out[0, 0].backward()
    torch.testing.assert_close(x.grad, torch.tensor([[8.0, -6.0]]) / 12.5**1.5)
    torch.testing.assert_close(weight.grad, torch.tensor([3 / math.sqrt(12.5), 0.0]))


def gradients(function, *inputs, dtype=torch.float32):
    inputs = [t.detach().clone().to(dtype).requires_grad_() for t in inputs]
    out = function(*inputs)
    torch.manual_seed(1)
    out.backward(torch.randn(out.shape).to(dtype))
    return out, [t.grad for t in inputs]


def agree(own, stock, inputs, dtype, exact):
    """Same values; gradients as near to the exact ones as the stock function's, in its types."""
    out, found = gradients(own, *inputs, dtype=dtype)
    expected, other = gradients(stock, *inputs, dtype=dtype)
    assert torch.equal(out, expected)
    _, right = gradients(exact, *inputs, dtype=torch.float64)
    for ours, theirs, wanted in zip(found, other, right, strict=True):
        assert ours.dtype == theirs.dtype
        error, measure = ((t.double() - wanted).norm() for t in (ours, theirs))
        assert error <= 1.1 * measure + 1e-6 * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_against_llama(dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 24) + 1, torch.randn(24)
    stock = LlamaRMSNorm(24, 1e-5)

    def of_llama(x, weight):
        return torch.func.functional_call(stock, {"weight": weight}, (x,))

    def exact(x, weight):
        return weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    x = x.bfloat16().float()
    agree(lambda *t: Norm.apply(*t, 1e-5), of_llama, (x, weight.bfloat16().float()), dtype, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_feed_forward_against_its_formula(dtype):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 5, 24), torch.randn(2, 5, 24), torch.randn(16, 24)]
    inputs = [t.bfloat16().float() for t in inputs]

    def formula(gate, up, weight):
        return (torch.nn.functional.silu(gate) * up) @ weight.T

    agree(GatedOutput.apply, formula, inputs, dtype, formula)


def test_what_is_kept():
    """Only inputs and, for a norm, one number per row."""
    kept = []
    x, weight, output = (torch.randn(size, requires_grad=True) for size in ((4, 8), 8, (3, 8)))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        Norm.apply(x, weight, 1e-5)
        assert kept == [(4, 8), (8,), (4, 1)]
        kept.clear()
        GatedOutput.apply(x, x, output)
        assert kept == [(4, 8), (4, 8), (3, 8)]


def patched(model):
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


def test_a_model_gets_the_same_loss_and_gradient(random_model):
    """Two layers with two norms and a feed-forward each, and the last norm."""

    def run(model):
        ids = torch.arange(3, 43).view(2, 20)
        loss = model.train()(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        return loss, torch.cat([p.grad.flatten().float() for p in model.parameters()])

    loss, expected = run(load_model(random_model, torch.bfloat16))
    model = keep_less(load_model(random_model, torch.bfloat16))
    assert len(patched(model)) == 7
    own_loss, found = run(model)
    assert torch.equal(own_loss, loss)
    assert (found - expected).norm() <= 0.02 * expected.norm()


class Scaled(torch.nn.Module):
    """A norm of the same parts that does something else."""

    def __init__(self, weight):
        super().__init__()
        self.weight, self.variance_epsilon = torch.nn.Parameter(weight), 1e-5

    def forward(self, x):
        return LlamaRMSNorm.forward(self, x) * 1.01


@pytest.mark.parametrize("norm", ["gemma", "olmo2", "scaled", "mamba2", "qwen3_next"])
def test_another_norm_stays_as_it_is(norm):
    """Gemma multiplies with 1 + w; OLMo 2 rounds after the product, which differs in bfloat16.

    Those of hybrid models also read a gate, in Mamba 2 only if it is passed.
    """
    module = {
        "gemma": GemmaRMSNorm(8),
        "olmo2": Olmo2RMSNorm(8),
        "scaled": Scaled(torch.rand(8)),
        "mamba2": MambaRMSNormGated(8, group_size=8),
        "qwen3_next": Qwen3NextRMSNormGated(8),
    }[norm]
    torch.nn.init.uniform_(module.weight)
    if norm == "gemma":
        module.variance_epsilon = module.eps  # even if it had the name
    holder = torch.nn.Sequential(module)
    keep_less(holder)
    assert not patched(holder)


def test_another_feed_forward_stays_as_it_is(random_model):
    model = load_model(random_model, torch.float32)
    for layer in model.model.layers:
        layer.mlp.act_fn = torch.nn.GELU()
    keep_less(model)
    assert not [name for name in patched(model) if name.endswith("mlp")]


def test_feed_forward_with_an_adapter_is_the_models_own(random_model):
    """A module that replaces the last product is called, not bypassed."""
    model = keep_less(load_model(random_model, torch.float32))
    mlp = model.model.layers[0].mlp
    x = torch.randn(3, 64)
    plain = mlp(x)
    mlp.down_proj = torch.nn.Sequential(mlp.down_proj, torch.nn.Linear(64, 64))
    assert not torch.allclose(mlp(x), plain)
