"""Adapters start at θ0, are all that is trained, and merge exactly into a plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedModel,
)

from sft_tradeoff.models.adapters import attach_adapter, merged_weights
from sft_tradeoff.models.load import load_model, save_model
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.system.console import UserError
from sft_tradeoff.training.master_weights import MasterWeights

IDS = torch.arange(48).reshape(2, 24) * 5 % 259  # (B, T)


def keywords(rank: int = 4, alpha: float = 8.0) -> dict[str, Any]:
    method = METHODS["lora"]
    assert method.adapter is not None
    return method.adapter(method.options(rank=rank, alpha=alpha))


def adapted(random_model: Path, **options: Any) -> Any:
    model = load_model(random_model, torch.float32)
    torch.manual_seed(0)
    attach_adapter(model, keywords(**options))
    return model.eval()


def trained_parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def randomize(adapter: dict[str, Tensor]) -> None:
    """Values large enough to change every logit; in place."""
    generator = torch.Generator().manual_seed(2)
    for tensor in adapter.values():
        tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    return model.eval()(input_ids=IDS, use_cache=False).logits


def test_training_starts_exactly_at_theta0(random_model: Path) -> None:
    expected = logits(load_model(random_model, torch.float32))
    model = adapted(random_model)
    assert torch.equal(logits(model), expected)
    assert any(tensor.any() for n, tensor in trained_parameters(model).items() if "lora_A" in n)


def test_loss_finds_body_and_head_where_they_were(random_model: Path) -> None:
    model = adapted(random_model)
    assert type(model) is LlamaForCausalLM
    assert type(model.base_model) is LlamaModel
    assert type(model.get_output_embeddings()) is torch.nn.Linear
    randomize(trained_parameters(model))
    with torch.no_grad():  # the body that the loss calls is the adapted one
        states = model.base_model(input_ids=IDS, use_cache=False).last_hidden_state
        assert torch.equal(model.lm_head(states), logits(model))


def test_only_adapters_train_and_the_head_has_none(random_model: Path) -> None:
    """Seven linear layers in each of two blocks, an A and a B for each."""
    plain = {n for n, _ in load_model(random_model, torch.float32).named_parameters()}
    model = adapted(random_model)
    names = {"self_attn": ("q", "k", "v", "o"), "mlp": ("gate", "up", "down")}
    assert trained_parameters(model).keys() == {
        f"model.layers.{block}.{part}.{layer}_proj.lora_{side}.default.weight"
        for block in (0, 1)
        for part, layers in names.items()
        for layer in layers
        for side in "AB"
    }
    frozen = {n.replace(".base_layer", "") for n, p in model.named_parameters()}
    assert frozen - trained_parameters(model).keys() == plain


def test_every_adapter_gets_a_gradient(random_model: Path) -> None:
    """The embedding is frozen, so checkpointing must not cut the graph at its output."""
    model = adapted(random_model).train()
    model.activation_checkpointing_enable()
    randomize(trained_parameters(model))
    model(input_ids=IDS, use_cache=False).logits.logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.any(), name


@pytest.mark.parametrize("rank", [1, 4, 64])
def test_number_of_trained_parameters(random_model: Path, rank: int) -> None:
    """r·(in + out): q, o 64→64; k, v 64→32; gate, up 64→128; down 128→64; two blocks.

    Per block 2·128 + 2·96 + 3·192 = 1024, together 2048·r.
    """
    adapter = trained_parameters(adapted(random_model, rank=rank))
    assert sum(tensor.numel() for tensor in adapter.values()) == 2048 * rank


def test_seed_decides_the_initial_values(random_model: Path) -> None:
    first, second = (trained_parameters(adapted(random_model)) for _ in range(2))
    assert all(torch.equal(first[n], second[n]) for n in first)
    model = load_model(random_model, torch.float32)
    torch.manual_seed(1)
    attach_adapter(model, keywords())
    other = trained_parameters(model)
    assert all(torch.equal(first[n], other[n]) == ("lora_B" in n) for n in first)


@pytest.mark.parametrize(("rank", "alpha"), [(4, 8.0), (8, 4.0), (64, 64.0), (3, 1.0)])
def test_merged_is_naive_sum(random_model: Path, rank: int, alpha: float) -> None:
    """W₀ + (α/r)·B·A in every linear layer of the blocks, θ0's own values everywhere else."""
    initial = dict(load_model(random_model, torch.float32).named_parameters())
    adapter = trained_parameters(adapted(random_model, rank=rank, alpha=alpha))
    randomize(adapter)
    model, merged = merged_weights(random_model, keywords(rank, alpha), adapter)
    assert list(merged) == list(initial)
    assert {tensor.dtype for tensor in merged.values()} == {torch.float32}
    assert not any("lora" in name for name, _ in model.named_modules())
    for name, tensor in merged.items():
        before = initial[name].detach()
        stem = name.removesuffix(".weight")
        if not stem.endswith("_proj"):
            assert torch.equal(tensor, before), name
            continue
        a, b = (adapter[f"{stem}.lora_{side}.default.weight"].double() for side in "AB")
        assert a.shape == (rank, before.shape[1]) and b.shape == (before.shape[0], rank)
        naive = before.double() + alpha / rank * b @ a
        assert (naive - before).abs().max() > 1e-3
        torch.testing.assert_close(tensor.double(), naive, rtol=0, atol=1e-6)


def test_merged_computes_what_was_adapted(random_model: Path) -> None:
    model = adapted(random_model)
    randomize(trained_parameters(model))
    plain, _ = merged_weights(random_model, keywords(), trained_parameters(model))
    expected = logits(model)
    torch.testing.assert_close(logits(plain), expected, rtol=0, atol=1e-5)
    assert (expected - logits(load_model(random_model, torch.float32))).abs().max() > 1e-2


def test_untrained_adapters_merge_to_theta0(random_model: Path) -> None:
    initial = dict(load_model(random_model, torch.float32).named_parameters())
    _, merged = merged_weights(random_model, keywords(), trained_parameters(adapted(random_model)))
    assert all(torch.equal(merged[n], initial[n]) for n in merged)


def test_saved_merge_is_an_ordinary_model(random_model: Path, tmp_path: Path) -> None:
    adapter = trained_parameters(adapted(random_model))
    randomize(adapter)
    plain, merged = merged_weights(random_model, keywords(), adapter)
    save_model(plain, merged, random_model, tmp_path / "final")
    assert not list((tmp_path / "final").glob("adapter*"))
    loaded = load_model(tmp_path / "final", torch.float32)
    assert torch.equal(logits(loaded), logits(plain))
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_masters_merge_with_unrounded_theta0(random_model: Path) -> None:
    """The model that trains is bfloat16; neither its θ0 nor its adapters reach the result."""
    model = adapted(random_model)
    weights = MasterWeights(model, "fp32_master")
    assert weights.state().keys() == trained_parameters(model).keys()
    assert {master.dtype for master in weights.masters} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    randomize(weights.state())
    weights.publish()
    assert logits(model).isfinite().all()

    _, merged = merged_weights(random_model, keywords(), weights.state())
    reference = adapted(random_model)
    randomize(trained_parameters(reference))
    _, expected = merged_weights(random_model, keywords(), trained_parameters(reference))
    assert all(torch.equal(merged[n], expected[n]) for n in expected)


def test_adapters_of_another_run_are_refused(random_model: Path) -> None:
    adapter = trained_parameters(adapted(random_model))
    missing = dict(list(adapter.items())[1:])
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.q_proj\.lora_A.*1 in all"):
        merged_weights(random_model, keywords(), missing)
    with pytest.raises(ValueError, match=r"differ in 'model\.norm\.weight'"):
        merged_weights(random_model, keywords(), adapter | {"model.norm.weight": torch.zeros(64)})
    with pytest.raises(RuntimeError, match="size mismatch"):
        merged_weights(random_model, keywords(rank=8), adapter)


EXPERTS: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_experts_per_tok": 2,
}


@pytest.mark.parametrize(
    ("architecture", "sizes", "left_out"),
    [
        ("llama", {}, []),
        ("glm4_moe", {"n_routed_experts": 4, "first_k_dense_replace": 1}, ["0.mlp.gate_proj"]),
        ("gpt_oss", {"num_local_experts": 4}, ["0.mlp.experts.gate_up_proj"]),
    ],
)
def test_what_adapters_do_not_reach_is_said(
    architecture: str,
    sizes: dict[str, int],
    left_out: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """peft takes a dense layer's gate_proj for an expert's, and knows no experts of gpt-oss."""
    config = AutoConfig.for_model(architecture, **EXPERTS | sizes)
    attach_adapter(AutoModelForCausalLM.from_config(config), keywords())
    said = [r.getMessage() for r in caplog.records if "get no adapters" in r.getMessage()]
    assert len(said) == len(left_out)
    assert all(
        f"are not trained: model.layers.{n}" in text for n, text in zip(left_out, said, strict=True)
    )


def test_the_share_that_adapters_reach(random_model: Path) -> None:
    """73,728 of 90,624 weights are in linear layers; of gpt-oss, none of the experts'.

    gpt-oss: attention has 32·(32 + 16 + 16 + 32) weights and 96 + 32 biases, embedding and head 40
    rows each; its router, a parameter of its own, and its experts have no adapters.
    """
    assert attach_adapter(load_model(random_model, torch.float32), keywords()) == 73728 / 90624
    config = AutoConfig.for_model("gpt_oss", **EXPERTS | {"num_local_experts": 4})
    model = AutoModelForCausalLM.from_config(config)
    total = sum(p.numel() for p in model.parameters())
    linear = sum(
        p.numel()
        for module in model.modules()
        if type(module) is torch.nn.Linear and module is not model.lm_head
        for p in module.parameters()
    )
    assert attach_adapter(model, keywords()) == linear / total < 0.5


def test_a_router_that_computes_more_than_a_product_gets_none() -> None:
    """PhiMoE's is a subclass of a linear layer and returns a tuple."""
    sizes = EXPERTS | {"num_local_experts": 4}
    del sizes["num_experts_per_tok"]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("phimoe", **sizes))
    attach_adapter(model, keywords())
    names = trained_parameters(model)
    assert names and not any("router" in name for name in names)
    model(input_ids=IDS % 40, use_cache=False)


def test_a_linear_layer_under_another_name_gets_one() -> None:
    """Falcon's own class computes the same product."""
    sizes = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("falcon", **sizes))
    attach_adapter(model, keywords())
    assert len(trained_parameters(model)) == 2 * 4 * 2  # A and B in four layers of each block


def test_a_model_that_has_no_adapters_is_refused() -> None:
    sizes: dict[str, Any] = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **sizes))
    with pytest.raises(
        UserError, match=r"no adapters for MambaForCausalLM.*remove this method from"
    ):
        attach_adapter(model, keywords())
