"""Products of two bfloat16 parts see the weights as trained; rounded weights can be had, too."""

from __future__ import annotations

import copy
import logging
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import linear
from transformers import AutoConfig, AutoModelForCausalLM

from sft_tradeoff.models import two_part
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.two_part import (
    KIND,
    TwoPartEmbedding,
    TwoPartLinear,
    compute_dtype,
    in_float32,
    load_in_two_parts,
    split_model,
    split_weight,
    use_shipped_weights,
)
from tests.unit.models.conftest import SIZES

IDS = torch.tensor([[3, 7, 11, 5, 7, 30, 2, 9]])
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "qwen2": {},  # biases of q, k and v
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8},  # scaled embedding, tied; soft caps
    "phi": {},  # biases everywhere, the head included
    "phi3": {"tie_word_embeddings": True},  # q, k, v in one
    "gpt_neox": {"rotary_pct": 0.5},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 8.0},
    "olmo2": {},
    "starcoder2": {},
}


def build(kind: str, **settings: Any) -> Any:
    """A tiny model with weights that are large enough for attention to matter."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(SIZES | FAMILIES.get(kind, {}) | settings))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0, 0.2)
    return model.requires_grad_(False)


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits.float()


def test_parts_by_hand() -> None:
    """Above 1, bfloat16 numbers are 2⁻⁷ apart: 1 + 2⁻¹⁰ is 1 and 2⁻¹⁰, 1 + 2⁻⁷ is one number."""
    weight = torch.tensor([[1 + 2**-10, 1 + 2**-7]])
    assert split_weight(weight).tolist() == [[1, 1 + 2**-7, 2**-10, 0]]
    assert split_weight(weight[:, 1:]).tolist() == [[1 + 2**-7]]


def test_the_parts_are_rounded_together() -> None:
    """1 + 1.375·2⁻⁸ rounds up, to 1 + 2⁻⁷; two products that are added give 1.

    Of hi · x = 1 + .875·2⁻⁸, rounded alone, only the 1 is left, and lo · x = 2⁻⁹ adds nothing.
    """
    model = build("llama")
    layer = model.model.layers[0].mlp.down_proj = torch.nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[1 + 2**-9, 0.875 * 2**-8]])
    split_model(model)
    layer = model.model.layers[0].mlp.down_proj
    assert layer(torch.ones(1, 2)).tolist() == [[1 + 2**-7]]
    ones = torch.ones(1, 2, dtype=KIND)
    high, low = (linear(ones, part) for part in layer.parts.split(2, dim=1))
    assert (high + low).tolist() == [[1]]


@pytest.mark.parametrize("size", [1e-7, 1e-6, 1e-5, 1e-4])
def test_updates_of_a_released_model_keep_their_size_and_direction(size: float) -> None:
    """As evaluation sees them; rounded to bfloat16 the smallest vanish and others grow."""
    generator = torch.Generator().manual_seed(0)
    start = (0.05 * torch.randn(64, 512, generator=generator)).to(KIND).float()
    end = start + size * torch.randn(start.shape, generator=generator)
    update = (end - start).double()

    def projection(seen: torch.Tensor) -> float:
        return float((seen.double() * update).sum() / update.square().sum())

    high, low = split_weight(end).float().split(512, dim=1)
    assert projection(high + low - start) == pytest.approx(1, abs=1e-3)
    if size < 1e-6:
        assert projection(high - start) < 0.5


@pytest.mark.parametrize("kind", FAMILIES)
def test_logits_are_those_of_float32_but_for_activations(kind: str) -> None:
    """In every family; no linear layer is left, and no weight takes more than four bytes."""
    model = build(kind)
    wanted = logits(model)
    split_model(model)
    assert not any(type(module) is torch.nn.Linear for module in model.modules())
    assert compute_dtype(model) == KIND
    found = logits(model)
    assert (found - wanted).norm() < 2e-2 * wanted.norm()
    for module in model.modules():
        if isinstance(module, TwoPartLinear):
            assert module.parts.nbytes == 4 * module.in_features * module.out_features
            module.parts[:, module.in_features :] *= 64
    assert not torch.equal(logits(model), found)


def test_a_tied_head_and_the_embedding_are_one_tensor() -> None:
    """Which tying once more, as lm-eval does, leaves as it is; rows are sums of their parts."""
    model = build("llama")
    weight = model.lm_head.weight.clone()
    split_model(model)
    model.tie_weights()
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, TwoPartEmbedding)
    assert embedding.parts is model.lm_head.parts
    torch.testing.assert_close(embedding(IDS), weight[IDS], rtol=2**-16, atol=0)


def test_weights_are_freed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of q, k, v, o, gate, up and down in two layers, and the head, never two copies of all.

    In the end only the head and the last three are left.
    """
    model = build("llama", tie_word_embeddings=False)
    layers = [m for m in model.modules() if type(m) is torch.nn.Linear]
    alive = [weakref.ref(layer.weight) for layer in layers]
    counts = []

    def counted(weight: torch.Tensor) -> torch.Tensor:
        counts.append(sum(ref() is not None for ref in alive))
        return split_weight(weight)

    del layers
    monkeypatch.setattr(two_part, "split_weight", counted)
    split_model(model)
    assert sorted(counts, reverse=True) == counts
    assert counts[0] == len(counts) == 15
    assert counts[-1] <= 4


def test_weights_on_the_grid_have_one_part() -> None:
    """θ0 as released: nothing to add, so nothing is computed twice."""
    model = use_shipped_weights(build("llama"))
    split_model(model)
    layers = [m for m in model.modules() if isinstance(m, TwoPartLinear)]
    assert all(layer.parts.shape[1] == layer.in_features for layer in layers)


def test_layers_in_turn_round_an_input_once() -> None:
    """And never take another tensor for it, even one in the same place."""
    model = build("llama")
    split_model(model)
    inputs = model.lm_head.inputs
    x = torch.ones(2, 3)
    first = inputs.rounded(x, 2)
    assert first.tolist() == [[1] * 6] * 2
    assert inputs.rounded(x, 2) is first
    assert inputs.rounded(x.clone(), 2) is not first
    del x
    for value in range(5):
        assert inputs.rounded(torch.full((2, 3), float(value)), 1).tolist() == [[value] * 3] * 2


@pytest.mark.parametrize("split", [True, False])
def test_shipped_weights_are_rounded(split: bool) -> None:
    """In two parts as in float32, norms and biases included: the model of the rounded weights."""
    model, rounded = build("qwen2"), build("qwen2")
    for parameter in rounded.parameters():
        parameter.data = parameter.to(KIND).float()
    plain = logits(rounded)
    if split:
        split_model(model)
        split_model(rounded)
    before = logits(model)
    found = logits(use_shipped_weights(model))
    assert torch.equal(found, logits(rounded))
    assert torch.equal(found, plain) != split
    assert not torch.equal(found, before)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("gpt2", "attn.c_attn.weight is not of a linear layer"),
        ("mamba", "is not of a linear layer"),
        ("mixtral", "is not of a linear layer"),
    ],
)
def test_other_matrices_are_computed_in_float32(
    kind: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2} if kind == "gpt2" else {}
    build(kind, **sizes).save_pretrained(tmp_path / "m")
    with caplog.at_level(logging.INFO):
        model = load_in_two_parts(tmp_path / "m")
    assert why in caplog.text
    assert compute_dtype(model) == torch.float32
    assert torch.equal(logits(model), logits(load_model(tmp_path / "m", torch.float32).eval()))


def test_a_model_that_reads_the_weights_of_its_layers_is_computed_in_float32(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return linear(self.up_proj(x), self.down_proj.weight)

    build("llama").save_pretrained(tmp_path / "m")
    assert compute_dtype(load_in_two_parts(tmp_path / "m")) == KIND
    monkeypatch.setattr(LlamaMLP, "forward", forward)
    with caplog.at_level(logging.INFO):
        model = load_in_two_parts(tmp_path / "m")
    assert "LlamaForCausalLM computes in float32, because it cannot" in caplog.text
    assert compute_dtype(model) == torch.float32


def test_what_bfloat16_changes_does_not_decide(tmp_path: Path) -> None:
    """Where logits nearly cancel, its rounding of activations changes them by a third.

    Another run of the same model may have other weights; both must be scored alike.
    """
    model = build("llama", tie_word_embeddings=False)
    with torch.inference_mode():
        states = model.model(input_ids=torch.arange(8)[None], use_cache=False).last_hidden_state[0]
    span = torch.linalg.qr(states.T).Q  # (H, 8)
    head = model.lm_head.weight
    head -= 0.99 * head @ span @ span.T
    model.save_pretrained(tmp_path / "m")
    loaded = load_in_two_parts(tmp_path / "m")
    wanted, found = (two_part._logits(m) for m in (model, loaded))
    assert (found - wanted).norm() > 0.2 * wanted.norm()
    assert compute_dtype(loaded) == KIND


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_any_model_can_compute_in_float32_for_a_while(kind: str) -> None:
    """Its parts are then summed; afterwards it computes in bfloat16 again."""
    model = build(kind)
    split = copy.deepcopy(model)
    split_model(split)
    expected, before = logits(model), logits(split)
    with in_float32(split):
        inside = logits(split)
    assert (inside - expected).norm() < 1e-3 * expected.norm()
    assert (before - expected).norm() > 10 * (inside - expected).norm()
    assert torch.equal(logits(split), before)
    with in_float32(model):
        assert torch.equal(logits(model), expected)
