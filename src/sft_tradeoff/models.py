"""Pretrained models θ0 as safetensors folders: built once, then loaded in a second.

Every later stage opens the same folder, so its ``MODEL.json`` carries the hash of the weights,
written before the folder gets its name.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock
from pydantic import ValidationError

from sft_tradeoff.allocator import drop_pages
from sft_tradeoff.console import run_main
from sft_tradeoff.files import atomic_write_json
from sft_tradeoff.model_chat import TEMPLATE_NAME, settle_chat
from sft_tradeoff.model_chat import load_tokenizer as load_tokenizer
from sft_tradeoff.model_folder import (
    INDEX_NAME,
    RECORD_NAME,
    ModelError,
    advice,
    check_small_files,
    check_weights,
    copy_small_files,
    describe_weights,
    read_record,
    staged_folder,
    tensor_shapes,
    weight_files,
)
from sft_tradeoff.sources import check_asset
from sft_tradeoff.specs import MODEL_RECIPE_VERSION, ModelSpec
from sft_tradeoff.tensor_names import (
    check_tensors,
    keep_own_head,
    load_whole,
    persistent_buffers,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger("sft_tradeoff.models")
PIECE = 2**20  # items that are compared at a time


def load_model(path: str | Path, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Load the weights of a model folder.

    Only safetensors are read and no code from the folder runs.

    Args:
        path: Folder with ``config.json`` and safetensors.
        dtype: Type that the parameters get; ``auto``: that of the file.

    Raises:
        ModelError: If weights are missing, damaged, not safetensors or those of another model.
    """
    tensor_shapes(Path(path))  # reads headers only: a clear error for a damaged file
    check_weights(Path(path))
    check_small_files(Path(path))
    model = _load(path, dtype)
    if broken := _not_finite(model):
        raise ModelError(
            f"{path}: weight {broken!r} holds NaN or infinity: it is damaged, or training went "
            f"wrong; {advice(Path(path))}"
        )
    return model


def _load(path: str | Path, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Load weights that are known to be as they were written."""
    from transformers import AutoModelForCausalLM

    folder = Path(path)
    try:
        model = load_whole(
            folder, tensor_shapes(folder), AutoModelForCausalLM, folder,
            dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False,
        )  # fmt: skip
    except FileNotFoundError:  # deleted since it was checked; a stage says what to do
        raise
    except (ValueError, OSError, RuntimeError) as error:
        raise ModelError(f"{path}: Transformers cannot load this model: {error}") from error
    return keep_own_head(model)


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """Set every dropout of a model, and the jitter of its routers, to zero, in place.

    With them a result would depend on how batches are cut, and θ0 would not agree with itself.
    """
    for module in model.modules():
        for name in ("p", *(n for n in vars(module) if "drop" in n or "jitter" in n)):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def _not_finite(model: PreTrainedModel) -> str | None:
    """Name of a weight that holds NaN or infinity, if any.

    NaN compares as false: of broken weights most benchmarks would still give a number.
    """
    import torch

    for name, tensor in [*model.named_parameters(), *persistent_buffers(model).items()]:
        # In float64 finite values never add up to infinity; PyTorch sums a copy of that type.
        sums = (piece.sum(dtype=torch.float64) for piece in tensor.reshape(-1).split(PIECE))
        if not all(found.isfinite() for found in sums):
            return name
    return None


def save_model(
    model: PreTrainedModel, weights: dict[str, torch.Tensor], base_model: Path, out: Path
) -> None:
    """Write a trained model as a folder that loads like θ0's, tokenizer included.

    It is loaded once before it gets its name: what is evaluated is what was trained, bit for bit.

    Args:
        model: Gives the architecture, and what it saves that is no parameter.
        weights: Parameter name -> final (master) value, saved in its own type.
        base_model: Folder of θ0, whose tokenizer and chat template are copied.
        out: The folder to write; it appears when it is complete.

    Raises:
        ModelError: If the folder loads as another model.
    """
    dtype = next(iter(weights.values())).dtype  # a buffer's may be another
    weights = {**persistent_buffers(model), **weights}
    with staged_folder(out) as folder:
        _save_weights(model, folder, weights)
        # The model computed in another type; a reader that trusts the config must not round.
        config = json.loads((folder / "config.json").read_text())
        config["dtype"] = str(dtype).removeprefix("torch.")
        atomic_write_json(folder / "config.json", config)
        copy_small_files(base_model, folder)
        atomic_write_json(folder / RECORD_NAME, describe_weights(folder), sealed=True)
        _refuse_other_model(folder, model, weights)


def _refuse_other_model(
    folder: Path, model: PreTrainedModel, weights: dict[str, torch.Tensor]
) -> None:
    """Compare a saved model with what was saved: every tensor, and the logits of a few tokens.

    Both are plain models of Transformers. One shares the memory of ``weights``, and the other one
    maps the file (but for tensors that loading converts), whose pages go once they are compared; a
    tensor that is the same may then stand in for it. So the check needs next to no memory.
    """
    import torch

    loaded = _load(folder, "auto").eval()
    saved = type(model).from_pretrained(
        None, config=model.config, state_dict=weights, dtype=loaded.dtype
    )
    saved.set_attn_implementation(loaded.config._attn_implementation)  # training has its own
    if broken := _not_finite(saved):
        raise ModelError(
            f"weight {broken!r} of the trained model holds NaN or infinity: training went wrong; "
            "lower learning_rate or raise training.warmup_ratio"
        )
    other = [f"tensor {name!r}" for name in _differing(saved, loaded)]
    if not other:
        loaded.load_state_dict(saved.state_dict(), assign=True)
        ids = torch.arange(min(8, loaded.config.get_text_config().vocab_size))[None]
        with torch.inference_mode():
            wanted, got = (m(input_ids=ids, use_cache=False).logits for m in (saved, loaded))
        if not torch.allclose(wanted, got, rtol=0, atol=0, equal_nan=True):
            other = ["its logits"]
    if other:
        raise ModelError(
            f"the trained {type(model).__name__} does not load as it was saved ({other[0]}, "
            f"{len(other)} in all): Transformers converts it in a way that cannot be undone; use "
            "another model"
        )


def _differing(saved: PreTrainedModel, loaded: PreTrainedModel) -> list[str]:
    """Names of tensors that differ, bit for bit; what was loaded is dropped on the way."""
    import torch

    found = dict(loaded.named_parameters()) | persistent_buffers(loaded)
    expected = saved.state_dict()
    other = sorted(_tied(saved) ^ _tied(loaded))
    for name, tensor in found.items():  # tied ones once: their memory is gone afterwards
        pair = expected[name].reshape(-1), tensor.reshape(-1)
        same = expected[name].shape == tensor.shape
        for wanted, got in zip(*(flat.split(PIECE) for flat in pair), strict=same):
            same = same and torch.equal(wanted, got)
            drop_pages(got)
        if not same:
            other.append(name)
    return other


def _tied(model: PreTrainedModel) -> set[str]:
    """Names that are another name's tensor."""
    once = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - once


def build_model(
    name: str, spec: ModelSpec, source: Path | None, out: Path, asset: dict[str, Any] | None = None
) -> None:
    """Build θ0's folder, unless another process has just done so.

    Args:
        name: Name in the catalogue.
        spec: What the asset holds.
        source: The asset's folder or file; None for ``format: random``.
        out: Folder to write, replaced as a whole.
        asset: Content of the asset's ``SOURCE.json``, kept for licence and identity.

    Raises:
        ModelError: If the material cannot become a model with a chat template.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    # SOURCE.json may list thousands of files; name, version and hash identify the asset.
    origin = {key: value for key, value in (asset or {}).items() if key != "files"}
    parts = {"format", "file", "chat_template", "chat_template_args"}
    built_from = {
        **spec.model_dump(include=parts),
        "asset": origin,
        "recipe_version": MODEL_RECIPE_VERSION,
    }
    with FileLock(f"{out}.lock"):
        if _is_built(out, built_from):
            logger.info("model %s: already there", name)
            return
        with staged_folder(out) as folder:
            _BUILDERS[spec.format](spec, source, folder)
            if spec.chat_template is not None:
                (folder / TEMPLATE_NAME).write_text(spec.chat_template, encoding="utf-8")
            chat = settle_chat(folder, spec.chat_template_args)
            licence = origin.get("licence", "none: untrained weights")
            facts = {"name": name, "licence": licence, "built_from": built_from, "chat": chat}
            facts |= describe_weights(folder)
            atomic_write_json(folder / RECORD_NAME, facts, sealed=True)


def _is_built(out: Path, built_from: dict[str, Any]) -> bool:
    return (out / RECORD_NAME).is_file() and bool(read_record(out)["built_from"] == built_from)


def _save_weights(
    model: PreTrainedModel, folder: Path, weights: dict[str, torch.Tensor] | None = None
) -> None:
    model.save_pretrained(folder, state_dict=weights)
    for path in folder.glob("*.safetensors"):
        # safetensors makes files that only their owner can read; the cache may be shared
        path.chmod((folder / "config.json").stat().st_mode)


def _link_safetensors(spec: ModelSpec, source: Path | None, folder: Path) -> None:
    """Link the weights, which can be large, and copy the small files, which may be changed."""
    assert source is not None  # ModelSpec demands an asset
    if not (source / "config.json").is_file():
        raise ModelError(f"{source}: config.json is missing; 'path' must name a model folder")
    outline = check_tensors(source)
    config = json.loads((source / "config.json").read_text())
    if "text_config" in config:
        return _extract_text_model(source, folder)
    for path in weight_files(source):
        try:
            os.link(path.resolve(), folder / path.name)
        except OSError:  # another file system
            os.symlink(path.resolve(), folder / path.name)
    if len(weight_files(source)) > 1:
        shutil.copyfile(source / INDEX_NAME, folder / INDEX_NAME)
    copy_small_files(source, folder)
    stored = tensor_shapes(source)
    if any(name.endswith(tied) for tied in outline.all_tied_weights_keys for name in stored):
        tied = load_model(source, "auto").config.tie_word_embeddings  # unless the weights differ
        atomic_write_json(folder / "config.json", config | {"tie_word_embeddings": tied})


def _extract_text_model(source: Path, folder: Path) -> None:
    """Keep the language model of one that also sees: no text reaches the rest, nor trains it."""
    from transformers import AutoModelForCausalLM

    whole: Any = load_model(source, "auto")
    config, head = whole.config.get_text_config(), whole.get_output_embeddings()
    # What the language model's own configuration says need not be what the whole one does.
    config.tie_word_embeddings = whole.get_input_embeddings().weight is head.weight
    text = AutoModelForCausalLM.from_config(config, dtype=whole.dtype)
    text.get_decoder().load_state_dict(whole.get_decoder().state_dict())
    text.get_output_embeddings().load_state_dict(head.state_dict())
    text.generation_config = whole.generation_config  # its end tokens, for one
    _save_weights(text, folder)
    copy_small_files(source, folder)


def _convert_gguf(spec: ModelSpec, source: Path | None, folder: Path) -> None:
    """Unpack a GGUF file to float32 once: opening it takes 25 s, safetensors 1 s."""
    from sft_tradeoff.gguf_model import load_gguf

    assert source is not None and spec.file is not None  # ModelSpec demands both
    file = source if source.is_file() else source / spec.file
    if not file.is_file():
        present = sorted(p.relative_to(source).as_posix() for p in source.rglob("*.gguf"))
        raise ModelError(f"{file} does not exist; set 'file' to one of {present}")
    model, tokenizer = load_gguf(file)
    _save_weights(model, folder)
    tokenizer.save_pretrained(folder)


def _build_random(spec: ModelSpec, source: Path | None, folder: Path) -> None:
    from sft_tradeoff.random_model import random_model

    model, tokenizer = random_model()
    _save_weights(model, folder)
    tokenizer.save_pretrained(folder)


_BUILDERS = {
    "gguf": _convert_gguf,
    "safetensors": _link_safetensors,
    "random": _build_random,
}


def parse_model(name: str, text: str) -> ModelSpec:
    """Read the JSON of one entry of the catalogue's ``models``.

    Raises:
        ModelError: If a key is unknown, missing or has a wrong value.
    """
    try:
        return ModelSpec.model_validate_json(text)
    except ValidationError as error:
        where = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ModelError(f"model {name!r}: {'; '.join(where)}; correct the entry") from None


def main() -> None:
    """Build one model folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="name in the catalogue")
    parser.add_argument("--spec", required=True, help="JSON of the model's catalogue entry")
    parser.add_argument("--source", type=Path, help="the asset's folder or file; random: none")
    parser.add_argument("--source-record", type=Path, help="the asset's SOURCE.json")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    args = parser.parse_args()
    with run_main(args.name):
        asset = check_asset(args.source, args.source_record) if args.source_record else None
        build_model(args.name, parse_model(args.name, args.spec), args.source, args.out, asset)


if __name__ == "__main__":
    main()
