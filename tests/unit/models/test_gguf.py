"""GGUF files: the model that is built is the file's, or the file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import ModelError
from sft_tradeoff.models.gguf import load_gguf
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tokenization import tokenize_example
from sft_tradeoff.models.tokenizer import generation_ends, load_tokenizer

TOKENS = [*bytes_to_unicode().values(), "Ġa", "<s>", "</s>"]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
IDS = (torch.arange(200)[None] * 7) % 250
Change = Callable[[gguf.GGUFWriter], Any]
TEMPLATE = "{% for m in messages %}{{ m.content }}</s>{% endfor %}"


def llama(**changes: Any) -> Any:
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=len(TOKENS) - 1,
        **changes,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.1)
    return model


def pairs_apart(weight: torch.Tensor, n_heads: int) -> torch.Tensor:
    """llama.cpp rotates adjacent columns, Transformers halves."""
    shape = n_heads, 2, len(weight) // n_heads // 2, -1
    return weight.reshape(shape).swapaxes(1, 2).reshape(weight.shape)


def write(
    path: Path, model: Any, *changes: Change, template: str = TEMPLATE, kind: str = "F32"
) -> Path:
    """A file as llama.cpp writes it, matrices of the given type, and what a test adds to it."""
    file = gguf.GGUFWriter(str(path), "llama")
    file.add_context_length(512)
    file.add_embedding_length(64)
    file.add_block_count(2)
    file.add_feed_forward_length(128)
    file.add_head_count(4)
    file.add_head_count_kv(2)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_rope_freq_base(1e4)
    file.add_rope_dimension_count(16)
    file.add_vocab_size(len(TOKENS))
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("smollm")
    file.add_token_list(TOKENS)
    file.add_token_types([3 if token[0] == "<" and token[1:] else 1 for token in TOKENS])
    file.add_token_merges(["Ġ a"])
    file.add_eos_token_id(len(TOKENS) - 1)
    file.add_bos_token_id(len(TOKENS) - 2)
    file.add_chat_template(template)
    weights = model.state_dict()
    tensors = {"token_embd": weights["model.embed_tokens.weight"]}
    tensors["output_norm"] = weights["model.norm.weight"]
    for layer in range(2):
        for ours, theirs in NAMES.items():
            tensors[f"blk.{layer}.{ours}"] = weights[f"model.layers.{layer}.{theirs}.weight"]
        for name, n_heads in {"attn_q": 4, "attn_k": 2}.items():
            place = f"blk.{layer}.{name}"
            tensors[place] = pairs_apart(tensors[place], n_heads)
    for name, tensor in tensors.items():
        stored = gguf.GGMLQuantizationType[kind if tensor.ndim > 1 else "F32"]
        data = gguf.quants.quantize(np.ascontiguousarray(tensor.numpy()), stored)
        file.add_tensor(f"{name}.weight", data, raw_dtype=stored)
    for change in changes:
        change(file)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


def rope_factors(config: LlamaConfig) -> np.ndarray:
    """What llama.cpp's converter writes: base frequencies by the scaled ones."""
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1e4 ** -(torch.arange(0, 16, 2) / 16)
    return (plain / scaled).numpy()


def built(file: Path, tmp_path: Path) -> Any:
    build_model("g", ModelSpec(asset="x", format="gguf", file=file.name), file, tmp_path / "g")
    return load_model(tmp_path / "g", torch.float32)


def test_the_model_of_the_file(tmp_path: Path) -> None:
    model = llama()
    found = built(write(tmp_path / "m.gguf", model), tmp_path)
    torch.testing.assert_close(logits(found), logits(model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
def test_quantized_weights_are_put_on_the_grid_of_bfloat16(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, so that what trains starts from numbers that bfloat16 has; other files keep theirs.

    Of 4 bits, many unpacked weights are exactly half-way between two such numbers.
    """
    model = llama()
    matrices = {n: p for n, p in model.named_parameters() if p.ndim > 1}
    caplog.set_level("INFO")
    found = dict(built(write(tmp_path / "m.gguf", model, kind=kind), tmp_path).named_parameters())
    for name in matrices:
        assert torch.equal(found[name].bfloat16().float(), found[name]) == kind.startswith("Q")
    config = json.loads((tmp_path / "g" / "config.json").read_text())
    assert config["dtype"] == ("bfloat16" if kind.startswith("Q") else "float32")
    assert ("weights rounded to bfloat16" in caplog.text) == kind.startswith("Q")
    place = "model.layers.0.mlp.down_proj.weight"
    stored = gguf.GGMLQuantizationType[kind]
    packed = gguf.quants.quantize(matrices[place].detach().numpy(), stored)
    exact = torch.from_numpy(gguf.quants.dequantize(packed, stored).astype(np.float32))
    wanted = exact.bfloat16().float() if kind.startswith("Q") else exact
    torch.testing.assert_close(found[place], wanted, rtol=0, atol=0)
    if kind == "Q4_1":
        assert ((exact.view(torch.int32) & 0xFFFF) == 0x8000).float().mean() > 1 / 40


def test_end_of_turn_of_a_file_that_names_the_end_of_text(tmp_path: Path) -> None:
    """Its only end of generation is ``</s>``; the template ends a turn with ``<s>``."""
    file = write(tmp_path / "m.gguf", llama(), template=TEMPLATE.replace("</s>", "<s>"))
    built(file, tmp_path)
    tokenizer = load_tokenizer(tmp_path / "g")
    end, eos = tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    record = {"id": "a", "prompt": "1+1?", "response": "2"}
    assert tokenize_example(tokenizer, record, 100).input_ids[-1] == end
    assert generation_ends(tmp_path / "g") == {end, eos}


def test_rope_factors_are_used(tmp_path: Path) -> None:
    """Llama 3.1 and 3.2: they are in a tensor, not in a key."""
    model = llama(rope_parameters=LLAMA3)
    factors = rope_factors(model.config)
    file = write(tmp_path / "m.gguf", model, lambda f: f.add_tensor("rope_freqs.weight", factors))
    found = built(file, tmp_path)
    torch.testing.assert_close(logits(found), logits(model), rtol=0, atol=1e-5)
    unscaled = llama()
    assert (logits(unscaled) - logits(model)).abs().max() > 0.1


def test_rope_factors_of_another_width(tmp_path: Path) -> None:
    factors = np.ones(4, dtype=np.float32)
    file = write(tmp_path / "m.gguf", llama(), lambda f: f.add_tensor("rope_freqs.weight", factors))
    with pytest.raises(ModelError, match=r"has 4 RoPE factors, .* rotates 16 columns"):
        load_gguf(file)


def test_unread_tensor_is_refused(tmp_path: Path) -> None:
    bias = np.ones(64, dtype=np.float32)
    file = write(tmp_path / "m.gguf", llama(), lambda f: f.add_tensor("blk.0.attn_q.bias", bias))
    with pytest.raises(
        ModelError, match=r"m\.gguf: .* not read the tensors blk\.0\.attn_q\.bias, so the"
    ):
        load_gguf(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.add_rope_scaling_type(gguf.RopeScalingType.YARN),
            r"llama\.rope\.scaling\.type is yarn, .* builds has none",
        ),
        (lambda f: f.add_rope_scaling_factor(4.0), r"rope\.scaling\.factor is 4\.0, .* has 1\.0"),
        (lambda f: f.add_sliding_window(128), r"attention\.sliding_window is 128, .* has None"),
        (lambda f: f.add_key_length(32), r"attention\.key_length is 32, .* has 16"),
        (lambda f: f.add_logit_scale(0.5), r"llama\.logit_scale is 0\.5, .* has None"),
    ],
)
def test_setting_that_the_model_would_not_have(
    tmp_path: Path, change: Change, message: str
) -> None:
    file = write(tmp_path / "m.gguf", llama(), change)
    with pytest.raises(ModelError, match=message + r"\); use the model's safetensors"):
        load_gguf(file)


def test_settings_that_say_what_is_built(tmp_path: Path) -> None:
    changes: list[Change] = [
        lambda f: f.add_rope_scaling_type(gguf.RopeScalingType.NONE),
        lambda f: f.add_rope_scaling_factor(1.0),
        lambda f: f.add_rope_scaling_orig_ctx_len(512),
        lambda f: f.add_key_length(16),
        lambda f: f.add_value_length(16),
        lambda f: f.add_causal_attention(True),
        lambda f: f.add_expert_count(0),
    ]
    load_gguf(write(tmp_path / "m.gguf", llama(), *changes))
