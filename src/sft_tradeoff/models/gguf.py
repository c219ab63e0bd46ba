"""GGUF files, with checks for what Transformers silently ignores.

A file contains settings that Transformers' reader does not support: RoPE scaling, windows, logit
scales. Every key and every tensor is compared with the model that was built, known to be harmless,
or refused.
"""

from __future__ import annotations

import logging
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

logger = logging.getLogger(__name__)

ROPE_FACTORS = "rope_freqs.weight"
ORIGINAL_WINDOW = "original_max_position_embeddings"
UNQUANTIZED = ("F64", "F32", "F16", "BF16")  # a tensor's types that are not quantized
INSTEAD = "use the model's safetensors folder instead"
# A wrong value would change the shape or number of tensors, which are all compared; or the key does
# not concern the weights (the context window, positions in images).
_IN_SHAPES = {
    "block_count",
    "context_length",
    "embedding_length",
    "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
    "feed_forward_length",
    "full_attention_interval",
    "nextn_predict_layers",
    "rope.dimension_sections",
    "rope.scaling.finetuned",
    "shortconv.l_cache",
    "ssm.conv_kernel",
    "ssm.group_count",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.time_step_rank",
    "tensor_data_layout",
    "vocab_size",
}
_EPSILONS = ("rms_norm_eps", "norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")
# Key -> names in Transformers' configurations; below, in its RoPE parameters
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
    """Unpack a GGUF file to a model and its tokenizer.

    The weights of a quantized file are rounded to bfloat16, as released models are: unpacked, many
    are exactly half-way between two bfloat16 numbers, and the smallest update would decide which
    way each is rounded. The weights of other files keep their values, in float32.

    Raises:
        ModelError: If the file is damaged, or has a setting or tensor that the model would ignore.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        reader = GGUFReader(file)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        _split_digits_like_original(tokenizer, reader)
        names = {tensor.name for tensor in reader.tensors}
        # Without dequantize=True, weights would stay quantized on machines with a GPU kernel.
        model = load_whole(
            file,
            names,
            AutoModelForCausalLM,
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
    except ModelError:
        raise
    except Exception as error:  # depends on the file's values; raised anywhere in the readers
        raise ModelError(
            f"{file} cannot be read as a GGUF model ({error}); check that the file is complete"
        ) from error
    _refuse_unread(file, model, names - {ROPE_FACTORS})
    _refuse_other_settings(file, model, reader)
    _scale_rope(file, model, reader)
    if _is_quantized(reader):
        _round_weights(file, model)
    return keep_own_head(model), tokenizer


def _is_quantized(reader: GGUFReader) -> bool:
    """Whether a tensor is stored in blocks with a common scale."""
    return any(tensor.tensor_type.name not in UNQUANTIZED for tensor in reader.tensors)


def _round_weights(file: Path, model: PreTrainedModel) -> None:
    """Round the parameters of a float32 model to bfloat16, in place."""
    import torch

    n_moved = 0
    for parameter in model.parameters():
        rounded = parameter.detach().to(torch.bfloat16)
        n_moved += int((rounded != parameter).sum())
        parameter.data = rounded
    n = model.num_parameters()
    logger.info(
        "%s: %d of %d weights rounded to bfloat16 (%.1f %%)", file, n_moved, n, 100 * n_moved / n
    )


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
    # Names of fused experts have no ".weight" in the model.
    unread = sorted(n for n in names if n not in read and n.removesuffix(".weight") not in read)
    if unread:
        raise ModelError(
            f"{file}: Transformers does not read the tensors {listing(unread, limit=3)}, "
            f"so the model would differ from the file; {INSTEAD}"
        )


def _refuse_other_settings(file: Path, model: PreTrainedModel, reader: GGUFReader) -> None:
    """Refuse settings of the file that differ in the built model."""
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
            continue  # without scaling it has no effect
        built = _built_value(name, model)
        if not _same(stated, built):
            raise ModelError(
                f"{file}: {prefix}{name} is {value}, which Transformers ignores (the model "
                f"that it builds has {built}); {INSTEAD}"
            )


def _built_value(name: str, model: PreTrainedModel) -> Any:
    """Value of a GGUF setting in a Transformers model; None if the model has no such setting."""
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
    """Whether two values are equal in float32; a setting that is off may be absent."""
    if built is None:
        return not stated
    if isinstance(stated, (int, float)) and isinstance(built, (int, float)):
        return math.isclose(stated, built, rel_tol=1e-6)
    return bool(stated == built)


def _rope(config: PretrainedConfig) -> dict[str, Any]:
    """RoPE parameters; if there are several kinds of layers, those with full attention."""
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {"rope_type": "default"}
    return rope.get("full_attention", rope)


def _rotated(model: PreTrainedModel) -> int | None:
    """Number of columns of a head that RoPE rotates."""
    frequencies = (b for name, b in model.named_buffers() if name.endswith("rotary_emb.inv_freq"))
    return next((2 * b.numel() for b in frequencies), None)


def _scale_rope(file: Path, model: PreTrainedModel, reader: GGUFReader) -> None:
    """Apply the file's factor for every rotary frequency (Llama 3.1 and 3.2).

    Transformers has no setting for this list; LongRoPE with equal short and long factors does the
    same.
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
    """Restore SmolLM's rule that every digit is a separate word.

    Transformers' GGUF reader does not support the ``smollm`` pre-tokenizer and falls back to
    GPT-2's, which treats spaces before a digit differently: a fifth of the HumanEval texts change.
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
