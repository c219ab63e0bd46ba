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
    count_parameters,
    describe_weights,
    read_record,
    staged_folder,
    weight_files,
)
from sft_tradeoff.sources import check_asset
from sft_tradeoff.specs import MODEL_RECIPE_VERSION, ModelSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger("sft_tradeoff.models")


def load_model(path: str | Path, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Load the weights of a model folder.

    Only safetensors are read and no code from the folder runs.

    Args:
        path: Folder with ``config.json`` and safetensors.
        dtype: Type that the parameters get; ``auto``: that of the file.

    Raises:
        ModelError: If weights are missing, damaged or not safetensors.
    """
    from transformers import AutoModelForCausalLM

    count_parameters(Path(path))  # reads headers only: a clear error for a damaged file
    check_weights(Path(path))
    check_small_files(Path(path))
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except FileNotFoundError:  # deleted since it was checked; a stage says what to do
        raise
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: Transformers cannot load this model: {error}") from error
    _refuse_not_finite(path, model)
    return model


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """Set every dropout of a model, and the jitter of its routers, to zero, in place.

    With them a result would depend on how batches are cut, and θ0 would not agree with itself.
    """
    for module in model.modules():
        for name in ("p", *(n for n in vars(module) if "drop" in n or "jitter" in n)):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def _refuse_not_finite(path: str | Path, model: PreTrainedModel) -> None:
    """NaN compares as false: of broken weights most benchmarks would still give a number."""
    import torch

    for name, parameter in model.named_parameters():
        # A sum needs no memory, and in float64 finite values never add up to infinity.
        if not parameter.sum(dtype=torch.float64).isfinite():
            raise ModelError(
                f"{path}: weight {name!r} holds NaN or infinity: it is damaged, or training went "
                f"wrong; {advice(Path(path))}"
            )


def save_model(
    model: PreTrainedModel, weights: dict[str, torch.Tensor], base_model: Path, out: Path
) -> None:
    """Write a trained model as a folder that loads like θ0's, tokenizer included.

    Args:
        model: Gives the architecture.
        weights: Parameter name -> final (master) value, saved in its own type.
        base_model: Folder of θ0, whose tokenizer and chat template are copied.
        out: The folder to write; it appears when it is complete.
    """
    with staged_folder(out) as folder:
        _save_weights(model, folder, weights)
        # The model computed in another type; a reader that trusts the config must not round.
        config = json.loads((folder / "config.json").read_text())
        config["dtype"] = str(next(iter(weights.values())).dtype).removeprefix("torch.")
        atomic_write_json(folder / "config.json", config)
        copy_small_files(base_model, folder)
        atomic_write_json(folder / RECORD_NAME, describe_weights(folder), sealed=True)


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


def _convert_gguf(spec: ModelSpec, source: Path | None, folder: Path) -> None:
    """Unpack a GGUF file to float32 once: opening it takes 25 s, safetensors 1 s."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    assert source is not None and spec.file is not None  # ModelSpec demands both
    file = source if source.is_file() else source / spec.file
    if not file.is_file():
        present = sorted(p.relative_to(source).as_posix() for p in source.rglob("*.gguf"))
        raise ModelError(f"{file} does not exist; set 'file' to one of {present}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        _split_digits_like_original(tokenizer, file)
        # Without dequantize=True, machines with a GPU kernel would keep the weights packed.
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
    except (ValueError, IndexError, OSError) as error:
        raise ModelError(
            f"{file} cannot be read as a GGUF model ({error}); check that the file is whole"
        ) from error
    _save_weights(model, folder)
    tokenizer.save_pretrained(folder)


def _split_digits_like_original(tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    """Restore SmolLM's rule that each digit is a word of its own.

    Transformers' GGUF reader knows no ``smollm`` pre-tokenizer and falls back to GPT-2's, which
    treats spaces before a digit differently: a fifth of the HumanEval texts change.
    """
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(file).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )


def _link_safetensors(spec: ModelSpec, source: Path | None, folder: Path) -> None:
    """Link the weights, which can be large, and copy the small files, which may be changed."""
    assert source is not None  # ModelSpec demands an asset
    if not (source / "config.json").is_file():
        raise ModelError(f"{source}: config.json is missing; 'path' must name a model folder")
    if "text_config" in json.loads((source / "config.json").read_text()):
        return _extract_text_model(source, folder)
    for path in weight_files(source):
        try:
            os.link(path.resolve(), folder / path.name)
        except OSError:  # another file system
            os.symlink(path.resolve(), folder / path.name)
    if len(weight_files(source)) > 1:
        shutil.copyfile(source / INDEX_NAME, folder / INDEX_NAME)
    copy_small_files(source, folder)


def _extract_text_model(source: Path, folder: Path) -> None:
    """Keep the language model of one that also sees: no text reaches the rest, nor trains it."""
    from transformers import AutoModelForCausalLM

    whole: Any = load_model(source, "auto")
    text = AutoModelForCausalLM.from_config(whole.config.get_text_config(), dtype=whole.dtype)
    text.get_decoder().load_state_dict(whole.get_decoder().state_dict())
    text.get_output_embeddings().load_state_dict(whole.get_output_embeddings().state_dict())
    text.generation_config = whole.generation_config  # its end tokens, for one
    _save_weights(text, folder)
    copy_small_files(source, folder)


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
