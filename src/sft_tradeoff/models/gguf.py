"""GGUF files: what Transformers reads of them, and what it leaves out without a word.

A file states more than Transformers' reader knows of: RoPE scaling, windows, scales of logits. Each
of these keys is compared with the model that was built, or known to be harmless, or refused; so is
every tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.models.folder import ModelError
from sft_tradeoff.models.tensor_names import keep_own_head, load_whole
from sft_tradeoff.system.text import listing

if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

ROPE_FACTORS = "rope_freqs.weight"
ORIGINAL_WINDOW = "original_max_position_embeddings"
INSTEAD = "use the model's safetensors folder instead"
# Another value of these would need tensors of another shape or number, which are all compared; or
# it says nothing about the weights (the window, and how positions count in pictures).
_IN_SHAPES = {
    "block_count", "context_length", "embedding_length", "expert_feed_forward_length",
    "expert_shared_feed_forward_length", "feed_forward_length", "full_attention_interval",
    "nextn_predict_layers", "rope.dimension_sections", "rope.scaling.finetuned",
    "shortconv.l_cache", "ssm.conv_kernel", "ssm.group_count", "ssm.inner_size", "ssm.state_size",
    "ssm.time_step_rank", "tensor_data_layout", "vocab_size",
}  # fmt: skip
_EPSILONS = ("rms_norm_eps", "norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")
# Key -> names in Transformers' configurations, and in its RoPE parameters
_SAME_IN_CONFIG = {
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_attention_heads"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.layer_norm_epsilon": _EPSILONS,
    "attention.layer_norm_rms_epsilon": _EPSILONS,
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_weights_norm": ("norm_topk_prob",),
    "use_parallel_residual": ("use_parallel_residual",),
}
_SAME_IN_ROPE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "rope.freq_base": lambda rope: rope.get("rope_theta"),
    "rope.scaling.type": lambda rope: rope["rope_type"].replace("default", "none"),
    "rope.scaling.factor": lambda rope: rope.get("factor", 1.0),
    "rope.scale_linear": lambda rope: rope.get("factor", 1.0),
    "rope.scaling.original_context_length": lambda rope: rope.get(ORIGINAL_WINDOW),
}


def load_gguf(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Unpack a GGUF file to a float32 model and its tokenizer.

    Raises:
        ModelError: If the file is damaged, or says something that the model would not do.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        reader = GGUFReader(file)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        _split_digits_like_original(tokenizer, reader)
        names = {tensor.name for tensor in reader.tensors}
        # Without dequantize=True, machines with a GPU kernel would keep the weights packed.
        model = load_whole(
            file, names, AutoModelForCausalLM, file.parent, gguf_file=file.name,
            dtype=torch.float32, quantization_config=GgufConfig(dequantize=True),
        )  # fmt: skip
    except ModelError:
        raise
    except Exception as error:  # from the file's own values, anywhere in the readers
        raise ModelError(
            f"{file} cannot be read as a GGUF model ({error}); check that the file is whole"
        ) from error
    _refuse_unread(file, model, names - {ROPE_FACTORS})
    _refuse_other_settings(file, model, reader)
    _scale_rope(file, model, reader)
    return keep_own_head(model), tokenizer


def _refuse_unread(file: Path, model: PreTrainedModel, names: set[str]) -> None:
    """Refuse tensors that Transformers' older reader skips; the newer one reports them."""
    from transformers.integrations.gguf.reader import read_gguf_metadata
    from transformers.integrations.gguf.utils import is_gguf_arch_supported
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    architecture = read_gguf_metadata(str(file))[0]["general.architecture"]
    if is_gguf_arch_supported(architecture):
        return
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)()
    read = get_gguf_hf_weights_map(model, processor)
    # Of fused experts the model's names have no ".weight".
    unread = sorted(n for n in names if n not in read and n.removesuffix(".weight") not in read)
    if unread:
        raise ModelError(
            f"{file}: Transformers does not read the tensors {listing(unread, limit=3)}, and "
            f"the model would not be that of the file; {INSTEAD}"
        )


def _refuse_other_settings(file: Path, model: PreTrainedModel, reader: GGUFReader) -> None:
    """Refuse settings of the file that the built model does not have."""
    config = model.config.get_text_config()
    prefix = f"{reader.fields['general.architecture'].contents()}."
    settings = {
        key.removeprefix(prefix): field.contents()
        for key, field in reader.fields.items()
        if key.startswith(prefix) and key.removeprefix(prefix) not in _IN_SHAPES
    }
    for name, value in settings.items():
        stated = max(value) if isinstance(value, list) and value else value  # one per layer
        if name.endswith("original_context_length") and _rope(config)["rope_type"] == "default":
            continue  # nothing is scaled by it
        built = _built_value(name, model)
        if not _same(stated, built):
            raise ModelError(
                f"{file}: {prefix}{name} is {value}, which Transformers ignores (the model "
                f"that it builds has {built}); {INSTEAD}"
            )


def _built_value(name: str, model: PreTrainedModel) -> Any:
    """What a setting of a GGUF file is in a model of Transformers; None where nothing says so."""
    config = model.config.get_text_config()
    if name == "attention.causal":
        return True
    if name == "rope.dimension_count":
        return _rotated(model)
    if name in _SAME_IN_ROPE:
        return _SAME_IN_ROPE[name](_rope(config))
    found = (getattr(config, other, None) for other in _SAME_IN_CONFIG.get(name, ()))
    value = next((v for v in found if v is not None), None)
    if value is None and name in ("attention.key_length", "attention.value_length"):
        return config.hidden_size // config.num_attention_heads
    return value


def _same(stated: Any, built: Any) -> bool:
    """Equal, as far as the file's float32 can say; what is off may also be absent."""
    if built is None:
        return not stated
    if isinstance(stated, (int, float)) and isinstance(built, (int, float)):
        return math.isclose(stated, built, rel_tol=1e-6)
    return bool(stated == built)


def _rope(config: PretrainedConfig) -> dict[str, Any]:
    """RoPE parameters, of layers that see everything where there are several kinds."""
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {"rope_type": "default"}
    return rope.get("full_attention", rope)


def _rotated(model: PreTrainedModel) -> int | None:
    """Columns of a head that positions rotate."""
    frequencies = (b for name, b in model.named_buffers() if name.endswith("rotary_emb.inv_freq"))
    return next((2 * b.numel() for b in frequencies), None)


def _scale_rope(file: Path, model: PreTrainedModel, reader: GGUFReader) -> None:
    """Give the model the file's own factor for every rotary frequency (Llama 3.1 and 3.2).

    Transformers names no such list; LongRoPE's is one, if it is the same for short and long texts.
    """
    factors = [t.data.tolist() for t in reader.tensors if t.name == ROPE_FACTORS]
    if not factors:
        return
    rope, n_rotated = _rope(model.config), _rotated(model)
    if rope["rope_type"] != "default" or n_rotated != 2 * len(factors[0]):
        raise ModelError(
            f"{file}: {ROPE_FACTORS} has {len(factors[0])} RoPE factors, and the model that "
            f"Transformers builds rotates {n_rotated} columns ({rope['rope_type']}); {INSTEAD}"
        )
    model.config.rope_parameters = rope | {
        "rope_type": "longrope",
        "short_factor": factors[0],
        "long_factor": factors[0],
        "factor": 1.0,
        "attention_factor": 1.0,
        ORIGINAL_WINDOW: model.config.max_position_embeddings,
    }


def _split_digits_like_original(tokenizer: PreTrainedTokenizerBase, reader: GGUFReader) -> None:
    """Restore SmolLM's rule that each digit is a word of its own.

    Transformers' GGUF reader knows no ``smollm`` pre-tokenizer and falls back to GPT-2's, which
    treats spaces before a digit differently: a fifth of the HumanEval texts change.
    """
    from tokenizers import pre_tokenizers

    field = reader.get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
