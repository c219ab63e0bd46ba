"""Weights of another model are refused; those that Transformers renames or ties are not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import ModelError
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tensor_names import check_tensors, keep_own_head, persistent_buffers

Weights = dict[str, torch.Tensor]
SAFETENSORS = ModelSpec(asset="mine", format="safetensors")
IDS = torch.arange(1, 13)[None]
SIZES = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "apertus": {},
    "bloom": OLD,
    "cohere2": {},
    "deepseek_v3": LATENT,
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 16},
    "gemma2": {},
    "gemma3_text": {},
    "glm4_moe": LATENT,
    "gpt2": OLD,
    "gpt_neox": {},
    "gpt_oss": {"num_local_experts": 4, "layer_types": ["sliding_attention", "full_attention"]},
    "granitemoe": {"num_local_experts": 4},
    "jetmoe": {"num_local_experts": 4},
    "lfm2_moe": EXPERTS | {"layer_types": ["conv", "full_attention"], "num_dense_layers": 0},
    "llama": {},
    "mistral": {},
    "mixtral": {"num_local_experts": 4},
    "nemotron": {},
    "olmo2": {},
    "olmoe": EXPERTS,
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "phi": {},
    "phi3": {},
    "phimoe": {"num_local_experts": 4},
    "qwen2": {},
    "qwen2_moe": EXPERTS | {"shared_expert_intermediate_size": 16},
    "qwen3_moe": EXPERTS,
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
}


def tiny(architecture: str, **changes: Any) -> Any:
    """A small model of an architecture; no value in it is zero, one or the initial one."""
    sizes = SIZES | ARCHITECTURES.get(architecture, {}) | changes
    config = AutoConfig.for_model(architecture, **sizes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1)
        for buffer in persistent_buffers(model).values():
            buffer.normal_(0.5, 0.1)
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


@pytest.fixture
def copied(random_model: Path, tmp_path: Path) -> Path:
    """A model folder that a test may damage, without the hash that would show it first."""
    folder = Path(shutil.copytree(random_model, tmp_path / "source"))
    (folder / "MODEL.json").unlink()
    return folder


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusals(folder: Path, tmp_path: Path) -> list[str]:
    """Messages of the check without weights, of loading and of building."""
    found = []
    for use in (
        lambda: check_tensors(folder),
        lambda: load_model(folder, torch.float32),
        lambda: build_model("mine", SAFETENSORS, folder, tmp_path / "out"),
    ):
        with pytest.raises(ModelError) as error:
            use()
        found.append(str(error.value))
    assert not (tmp_path / "out").exists()
    return found


@pytest.mark.parametrize("shard", [None, "20KB"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_was_saved_loads(architecture: str, shard: str | None, tmp_path: Path) -> None:
    """Renamed, fused and tied tensors are the model's own; what is loaded is it, bit for bit."""
    model = tiny(architecture)
    model.save_pretrained(tmp_path, **({"max_shard_size": shard} if shard else {}))
    assert (tmp_path / "model.safetensors.index.json").exists() == bool(shard)
    check_tensors(tmp_path)
    assert torch.equal(logits(load_model(tmp_path, torch.float32)), logits(model))


@pytest.mark.parametrize("architecture", ["gpt2", "bloom"])
def test_layout_of_the_hub(architecture: str, tmp_path: Path) -> None:
    """Saved from the body alone: without its prefix and without the tied head."""
    model = tiny(architecture)
    model.transformer.save_pretrained(tmp_path)
    assert not any(n.startswith("transformer.") for n in load_file(tmp_path / "model.safetensors"))
    check_tensors(tmp_path)
    assert torch.equal(logits(load_model(tmp_path, torch.float32)), logits(model))


def test_old_buffers_are_harmless(copied: Path, random_model: Path) -> None:
    """Older versions saved what is computed: Transformers knows these names."""
    old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    rewrite(copied, lambda weights: weights | old)
    check_tensors(copied)
    plain = load_model(random_model, torch.float32)
    assert torch.equal(logits(load_model(copied, torch.float32)), logits(plain))


@pytest.mark.parametrize(
    ("prefix", "advice"),
    [
        ("_orig_mod.", r"'_orig_mod\.' .* torch\.compile: save the model inside it"),
        ("module.", r"'module\.' .* DataParallel.*: save the model inside it"),
        ("base_model.model.", r"'base_model\.model\.' .* PEFT: merge the adapter"),
    ],
)
def test_prefix_of_a_wrapper(copied: Path, tmp_path: Path, prefix: str, advice: str) -> None:
    rewrite(copied, lambda weights: {prefix + name: t for name, t in weights.items()})
    for text in refusals(copied, tmp_path):
        assert re.search(advice, text), text
        assert str(copied) in text and "model.embed_tokens.weight" in text
        assert "delete" not in text


def test_an_adapter_that_was_never_merged(copied: Path, tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.q_proj"
    rewrite(copied, lambda weights: weights | {f"{name}.lora_A.default.weight": torch.ones(2, 64)})
    for text in refusals(copied, tmp_path):
        assert "1 (model.layers.0.self_attn.q_proj.lora_A.default.weight) unexpected" in text
        assert "merge the adapter" in text


def test_one_tensor_missing(copied: Path, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    rewrite(copied, lambda weights: {n: t for n, t in weights.items() if n != name})
    for text in refusals(copied, tmp_path):
        assert f"LlamaForCausalLM that the configuration describes: 1 ({name}) missing" in text
        assert "copy or save the whole model again" in text


@pytest.mark.parametrize("n_layers", [1, 4])
def test_other_number_of_layers(copied: Path, tmp_path: Path, n_layers: int) -> None:
    """With more, some would be random; with fewer, some are left out."""
    edit(copied, num_hidden_layers=n_layers)
    for text in refusals(copied, tmp_path):
        assert f"the weights have 2 layers, config.json says {n_layers}" in text


def test_other_shape(copied: Path, tmp_path: Path) -> None:
    edit(copied, intermediate_size=96)
    for text in refusals(copied, tmp_path):
        assert "model.layers.0.mlp.down_proj.weight is [64, 128], not [64, 96]" in text
        assert "6 (" in text and "of another shape" in text


def test_configuration_of_another_architecture(copied: Path, tmp_path: Path) -> None:
    (copied / "config.json").write_text(json.dumps({"model_type": "opt", "num_hidden_layers": 2}))
    for text in refusals(copied, tmp_path):
        assert "weights are not those of the OPTForCausalLM" in text and "missing" in text


@pytest.mark.parametrize(
    "changes", [{"num_attention_heads": 0}, {"hidden_size": -4}, {"rope_parameters": 3}]
)
def test_configuration_of_no_model(copied: Path, changes: dict[str, Any]) -> None:
    edit(copied, **changes)
    wrong = r"check that config\.json and the weights|use the config\.json that was saved"
    with pytest.raises(ModelError, match=wrong):
        check_tensors(copied)


def test_the_check_reads_no_weights(copied: Path) -> None:
    assert {p.device.type for p in check_tensors(copied).parameters()} == {"meta"}


# --- models that also see ----------------------------------------------------------------------


def seeing(folder: Path, random_model: Path, tied: bool) -> Any:
    """Llama 4, of which Transformers loads only the language model."""
    from transformers import Llama4Config, Llama4ForConditionalGeneration

    text = SIZES | {"num_local_experts": 2, "intermediate_size_mlp": 48, "vocab_size": 259}
    sight = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "patch_size": 7,
        "num_attention_heads": 2,
        "image_size": 14,
        "vision_output_dim": 16,
        "projector_input_dim": 16,
        "projector_output_dim": 16,
    }
    torch.manual_seed(0)
    text["tie_word_embeddings"] = tied
    config = Llama4Config(text_config=text, vision_config=sight, tie_word_embeddings=tied)
    whole = Llama4ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.normal_(0, 0.1)
    whole.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(random_model / name, folder / name)
    return whole


def test_what_sees_is_left_out(random_model: Path, tmp_path: Path) -> None:
    whole = seeing(tmp_path / "whole", random_model, tied=False)
    build_model("mine", SAFETENSORS, tmp_path / "whole", tmp_path / "text")
    assert not any("vision" in name for name in load_file(tmp_path / "text" / "model.safetensors"))
    assert torch.equal(logits(load_model(tmp_path / "text", torch.float32)), logits(whole))


def test_a_language_model_that_does_not_say_that_it_is_tied(
    random_model: Path, tmp_path: Path
) -> None:
    """Transformers uses the flag of the part that it loads; the head would be random."""
    folder = tmp_path / "whole"
    seeing(folder, random_model, tied=False)
    rewrite(folder, lambda weights: {n: t for n, t in weights.items() if "lm_head" not in n})
    edit(folder, tie_word_embeddings=True)
    for text in refusals(folder, tmp_path):
        assert "1 (lm_head.weight) missing; if the head shares the embedding's weights, set" in text


# --- a separate head although the flag says tied ------------------------------------------------


@pytest.fixture
def own_head(copied: Path) -> Path:
    """config.json says tied, and the file has a head that differs."""
    head = torch.randn(259, 64, generator=torch.Generator().manual_seed(5))
    rewrite(copied, lambda weights: weights | {"lm_head.weight": head})
    return copied


def test_a_head_of_its_own_stays_its_own(own_head: Path, tmp_path: Path) -> None:
    """Whatever ties weights as config.json says, as lm-eval does with a model that it is given."""
    plain = logits(AutoModelForCausalLM.from_pretrained(own_head, dtype=torch.float32))
    build_model("mine", SAFETENSORS, own_head, tmp_path / "built")
    assert json.loads((own_head / "config.json").read_text())["tie_word_embeddings"]
    for folder in (own_head, tmp_path / "built"):
        model = load_model(folder, torch.float32)
        model.tie_weights()
        assert torch.equal(logits(model), plain)
    built = json.loads((tmp_path / "built" / "config.json").read_text())
    assert built["tie_word_embeddings"] is False


def test_a_copy_of_the_tied_head_is_no_other_head(copied: Path, tmp_path: Path) -> None:
    rewrite(copied, lambda w: w | {"lm_head.weight": w["model.embed_tokens.weight"].clone()})
    build_model("mine", SAFETENSORS, copied, tmp_path / "built")
    model = load_model(tmp_path / "built", torch.float32)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert json.loads((tmp_path / "built" / "config.json").read_text())["tie_word_embeddings"]


def test_some_tied_weights_and_some_not_are_refused(random_model: Path) -> None:
    model = load_model(random_model, torch.float32)
    model.all_tied_weights_keys = {"other.weight": "model.embed_tokens.weight"}
    with pytest.raises(ModelError, match=r"1 \(lm_head\.weight\) are tied, but the weights differ"):
        keep_own_head(model)


@pytest.mark.parametrize("part", ["", "text_config"])
def test_quantized_weights_are_refused(copied: Path, part: str) -> None:
    """Even if Transformers would load them: its quantized layers have no gradient."""
    config = json.loads((copied / "config.json").read_text())
    settings = {"quantization_config": {"quant_method": "fp8"}}
    config |= {part: settings} if part else settings
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"quantized \(quantization_config: fp8\).*dequantize"):
        check_tensors(copied)
