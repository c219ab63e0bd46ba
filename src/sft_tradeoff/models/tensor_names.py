"""Check that a folder's tensors are those of the model that its config.json describes.

Transformers initializes missing tensors at random and ignores unexpected ones, with no more than a
table in the log. A study with these weights would look like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.models.folder import (
    ModelError,
    read_object,
    reason,
    refuse_deleted,
    tensor_shapes,
)
from sft_tradeoff.models.supported import auto_class, refuse_unsupported
from sft_tradeoff.system.text import listing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_OTHER_SENSES = re.compile(r"vision|visual|image|audio|speech|multi_?modal|projector")
_NOTHING = re.compile(r"(?!)")
_QUANTIZED = re.compile(r"\.(qweight|qzeros|absmax|SCB|weight_(scale|packed|format)\w*)$")
_UNWRAP = "save the model inside it with save_pretrained and use that folder"
_MERGE = "merge the adapter (merge_and_unload()), save the result with save_pretrained and use that"
_WRAPPERS = {  # part of a tensor's name -> who put it there, what to do
    "base_model.model.": ("PEFT", _MERGE),
    "base_layer.": ("PEFT", _MERGE),
    "lora_A.": ("PEFT", _MERGE),
    "_orig_mod.": ("torch.compile", _UNWRAP),
    "module.": ("DataParallel, DDP or DeepSpeed", _UNWRAP),
    "_fsdp_wrapped_module.": ("FSDP", _UNWRAP),
    "_checkpoint_wrapped_module.": ("activation checkpointing", _UNWRAP),
    "_forward_module.": ("Lightning Fabric", _UNWRAP),
}


def check_tensors(folder: Path) -> PreTrainedModel:
    """Compare names and shapes of a folder's tensors with its configuration; loads no weights.

    Transformers loads them on the meta device, so renamed, fused and tied tensors are treated as in
    real loading. Takes a tenth of a second for a small model.

    Args:
        folder: With ``config.json`` and safetensors.

    Returns:
        The model without storage.

    Raises:
        ModelError: If a tensor is missing, unexpected or of another shape, or Transformers cannot
            build the model.
    """
    config = refuse_unsupported(folder)
    n_layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if n_layers > (n_tensors := len(tensor_shapes(folder))):  # building them could take for ever
        raise ModelError(
            f"{folder}: config.json says {n_layers} layers, but there are only {n_tensors} "
            "tensors; use the config.json that was saved with these weights"
        )
    try:
        return load_folder(folder, auto_class(config, folder), device_map="meta")
    except (ModelError, FileNotFoundError):
        raise
    except Exception as error:  # depends on the folder's values; raised anywhere in Transformers
        refuse_deleted(folder)
        raise ModelError(
            f"{folder}: Transformers cannot load this model: {reason(error)}; check that "
            "config.json and the weights belong together"
        ) from error


@contextmanager
def without_bars() -> Iterator[None]:
    """Switch off Transformers' progress bars, which say that weights are loaded or written."""
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging

    if are_progress_bars_disabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def load_folder(folder: Path, architecture: Any, **keywords: Any) -> PreTrainedModel:
    """Load the safetensors of a folder; no code from it runs, and no adapter in it is loaded.

    Args:
        folder: With ``config.json`` and safetensors.
        architecture: Transformers class, as of :func:`auto_class`.
        keywords: For ``from_pretrained``.

    Raises:
        ModelError: As :func:`load_whole`.
    """
    return load_whole(
        folder,
        tensor_shapes(folder),
        architecture,
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        adapter_kwargs={"subfolder": "none"},  # where Transformers looks for an adapter
        **keywords,
    )


@without_bars()
def load_whole(
    source: Path, stored: Iterable[str], architecture: Any, *arguments: Any, **keywords: Any
) -> PreTrainedModel:
    """Call ``from_pretrained``, and refuse missing, unexpected and differently shaped tensors.

    Transformers does not report what it knows to be harmless (tied tensors, old buffers).

    Args:
        source: Folder or file, named in the message.
        stored: Names of the tensors in the file.
        architecture: Transformers class with ``from_pretrained``.
        arguments: For ``from_pretrained``.
        keywords: For ``from_pretrained``.

    Raises:
        ModelError: Naming some of these tensors and the likely reason.
    """
    model: PreTrainedModel
    model, info = architecture.from_pretrained(
        *arguments, output_loading_info=True, ignore_mismatched_sizes=True, **keywords
    )
    other = [f"{name} is {list(a)}, not {list(b)}" for name, a, b in info["mismatched_keys"]]
    # Of a multimodal model Transformers may load only the language model.
    apart = _OTHER_SENSES if _has_parts(source) else _NOTHING
    kinds = {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(n for n in info["unexpected_keys"] if not apart.search(n)),
        "of another shape": sorted(other),
    }
    found = [f"{_some(names)} {kind}" for kind, names in kinds.items() if names]
    if found:
        raise ModelError(
            f"{source}: the weights are not those of the {type(model).__name__} that the "
            f"configuration describes: {'; '.join(found)}; "
            f"{_reason(source, model, list(stored), kinds['missing'])}"
        )
    return model


def _has_parts(source: Path) -> bool:
    config = source / "config.json"
    return config.is_file() and "text_config" in read_object(config)


def _some(names: list[str]) -> str:
    return f"{len(names)} ({listing(names, limit=3)})"


def _reason(source: Path, model: PreTrainedModel, stored: list[str], missing: list[str]) -> str:
    """Which tool wrote these names, or how weights and configuration differ, and what to do."""
    if source.suffix == ".gguf":
        return (
            "Transformers does not support everything in this file; use the model's safetensors "
            "folder instead"
        )
    for part, (writer, fix) in _WRAPPERS.items():
        if any(f".{part}" in f".{name}" for name in stored):
            return f"{part!r} in the names was added by {writer}: {fix}"
    if any(_QUANTIZED.search(name) for name in stored):
        return "the weights are quantized and cannot be trained; use the original model"
    layers = {int(n) for name in stored for n in re.findall(r"(?:^|\.)(?:layers|h)\.(\d+)\.", name)}
    wanted = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    if layers and len(layers) != wanted:
        return (
            f"the weights have {len(layers)} layers, config.json says {wanted}: use the "
            "config.json that was saved with them, or the missing weights"
        )
    if missing == ["lm_head.weight"]:
        return (
            "if the head shares the embedding's weights, set tie_word_embeddings to true in "
            "config.json (in its text_config, if there is one); otherwise copy or save the whole "
            "model again"
        )
    return (
        "use the config.json that was saved with these weights, or copy or save the whole model "
        "again"
    )


def keep_own_head(model: PreTrainedModel) -> PreTrainedModel:
    """Set ``tie_word_embeddings`` to whether the weights really are tied, in place.

    If the file has a separate head although config.json says tied, Transformers keeps the two apart
    until someone ties the weights again, as lm-eval does.

    Raises:
        ModelError: If only some of the tied weights differ, which no configuration can express.
    """
    tied = model.all_tied_weights_keys
    apart = model.get_expanded_tied_weights_keys(all_submodels=True).keys() - tied.keys()
    if apart and tied:
        raise ModelError(
            f"{model.name_or_path}: config.json says that {_some(sorted(apart))} are tied, but the "
            "weights differ; save the model with tied weights, or set tie_word_embeddings to false"
        )
    if apart:
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False
    return model


def persistent_buffers(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Buffers that are saved with the parameters, by name (e.g. corrections of MoE routers)."""
    computed = {name for name, _ in model.named_non_persistent_buffers()}
    return {n: b.detach() for n, b in model.named_buffers() if n not in computed}
