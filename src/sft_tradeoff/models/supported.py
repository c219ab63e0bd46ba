"""Which model folders can be trained here, judged by their ``config.json`` alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.models.folder import ModelError, read_object, reason, refuse_deleted

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_OTHER_HEADS = re.compile(r"Classification|QuestionAnswering|MultipleChoice|Reward|Value|Embedding")
_WRITES_TEXT = "only causal language models are trained here"
_CHOOSE = f"{_WRITES_TEXT}; choose one (its architecture ends in ForCausalLM)"


def refuse_unsupported(folder: Path) -> PretrainedConfig:
    """Refuse what is no causal language model with weights that can be trained.

    Args:
        folder: With ``config.json``.

    Returns:
        Its Transformers configuration.

    Raises:
        ModelError: If ``config.json`` is damaged, or describes a model that is quantized, needs
            code of its own, reads in both directions, scores instead of writing, or is unknown.
    """
    settings = read_object(folder / "config.json")
    _refuse_quantized(folder, settings)
    if settings.get("auto_map") and not _is_known(settings):
        raise ModelError(
            f"{folder}: Transformers has no model_type {settings.get('model_type')!r}; the model "
            "needs Python code from its folder, which never runs here; use a model that "
            "Transformers supports itself"
        )
    config = load_config(folder)
    names = settings.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else type(config).__name__
    if _OTHER_HEADS.search(name):
        raise ModelError(
            f"{folder}: {name} scores texts and writes none; {_WRITES_TEXT}: use the one that it "
            "was made from"
        )
    if config.is_encoder_decoder:
        raise ModelError(f"{folder}: {name} is an encoder-decoder model; {_CHOOSE}")
    if name.endswith("ForMaskedLM") or _is_encoder(config):
        raise ModelError(f"{folder}: {name} reads text in both directions; {_CHOOSE}")
    auto_class(config, folder)
    if is_multimodal(config) and not _has_class("AutoModelForCausalLM", config.get_text_config()):
        raise ModelError(
            f"{folder}: Transformers has no class for the language model of {name} alone, whose "
            f"text part would be trained here; use the language model that it was made from"
        )
    return config


def load_config(folder: Path) -> PretrainedConfig:
    """Read a folder's Transformers configuration; no code from the folder runs.

    Raises:
        ModelError: If Transformers cannot read it.
    """
    from transformers import AutoConfig, PretrainedConfig

    read_object(folder / "config.json")
    try:
        found: PretrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        if not isinstance(text := found.get_text_config(), PretrainedConfig):
            raise TypeError(f"text_config is {text!r}, not an object of keys and values")
        return found
    except Exception as error:  # depends on the values; raised anywhere in Transformers
        refuse_deleted(folder)
        raise ModelError(
            f"{folder / 'config.json'}: Transformers cannot read it: {reason(error)}; use the "
            "config.json that was saved with these weights"
        ) from error


def auto_class(config: PretrainedConfig, folder: Path) -> Any:
    """Return the Transformers class that loads a model with its text head.

    Raises:
        ModelError: If there is none.
    """
    import transformers

    for name in ("AutoModelForCausalLM", "AutoModelForImageTextToText"):
        if _has_class(name, config):
            return getattr(transformers, name)
    raise ModelError(
        f"{folder}: Transformers has no causal language model of model_type "
        f"{config.model_type!r}; {_CHOOSE}"
    )


def is_multimodal(config: PretrainedConfig) -> bool:
    """Whether a model also reads something else than text; its language model is a part of it."""
    return config.get_text_config() is not config


def _has_class(auto: str, config: PretrainedConfig) -> bool:
    import transformers

    return type(config) in getattr(transformers, auto)._model_mapping


def window(config: PretrainedConfig) -> int | None:
    """Largest number of tokens that a model reads; None if its positions have no limit (ALiBi)."""
    text = config.get_text_config()
    if getattr(text, "alibi", False):
        return None
    found: int = getattr(text, "max_position_embeddings", None) or 0
    return found if found > 0 else None


def _is_known(settings: dict[str, Any]) -> bool:
    from transformers import CONFIG_MAPPING

    return settings.get("model_type") in CONFIG_MAPPING


def _is_encoder(config: PretrainedConfig) -> bool:
    """Whether a model predicts masked words; a few of these have a causal head as well."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    is_decoder = getattr(config, "is_decoder", False)
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder


def _refuse_quantized(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse quantized weights: they are not trained, but the rest, such as norms, would be."""
    parts = (settings, settings.get("text_config"))
    found = (p.get("quantization_config") for p in parts if isinstance(p, dict))
    quantization = next((q for q in found if q), None)
    if quantization is not None:
        how = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise ModelError(
            f"{folder}: the weights are quantized (quantization_config: {how}) and cannot be "
            "trained; use the original model, or load it with Transformers, call dequantize() and "
            "save_pretrained (if the weights are not quantized after all, remove "
            "quantization_config from config.json)"
        )
