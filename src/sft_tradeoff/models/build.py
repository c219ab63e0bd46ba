"""Build the folder of a base model θ0 from what was fetched.

All later stages read this folder, which loads in a second. Its ``MODEL.json`` holds the checksums
of the weights, written before the folder gets its name.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from sft_tradeoff.assets.fetch import check_asset
from sft_tradeoff.assets.spec import with_license
from sft_tradeoff.models.folder import (
    INDEX_NAME,
    RECORD_NAME,
    ModelError,
    copy_small_files,
    describe_weights,
    read_object,
    read_record,
    staged_folder,
    tensor_shapes,
    weight_files,
)
from sft_tradeoff.models.load import (
    load_model,
    refuse_not_finite,
    save_weights,
    stored_tensors,
)
from sft_tradeoff.models.spec import MODEL_RECIPE_VERSION, ModelSpec
from sft_tradeoff.models.supported import is_multimodal, load_config
from sft_tradeoff.models.tensor_names import check_tensors
from sft_tradeoff.models.tokenizer import settle_chat
from sft_tradeoff.models.tokenizer_template import TEMPLATE_NAME, source_of_template
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_json

logger = logging.getLogger(__name__)


def build_model(
    name: str, spec: ModelSpec, source: Path | None, out: Path, asset: dict[str, Any] | None = None
) -> None:
    """Build θ0's folder, unless another process has just done so.

    Args:
        name: Name in the catalogue.
        spec: What the asset holds.
        source: The asset's folder or file; None for ``format: random``.
        out: Folder to write, replaced as a whole.
        asset: Content of the asset's ``SOURCE.json``, kept for license and identity.

    Raises:
        ModelError: If the asset does not hold a usable model, or has no chat template.
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
            logger.info("model %s: already built", name)
            return
        with staged_folder(out) as folder, _name_source(folder, source):
            _BUILDERS[spec.format](spec, source, folder)
            if spec.chat_template is not None:
                (folder / TEMPLATE_NAME).write_text(spec.chat_template, encoding="utf-8")
            place = source_of_template(name, built_from)
            chat = settle_chat(folder, spec.chat_template_args, place)
            license = origin.get("license", "none: untrained weights")
            facts = {"name": name, "license": license, "built_from": built_from, "chat": chat}
            facts |= describe_weights(folder)
            atomic_write_json(folder / RECORD_NAME, facts, checksum=True)


@contextmanager
def _name_source(folder: Path, source: Path | None) -> Iterator[None]:
    """Name the folder that the user can correct, instead of the one that is being written."""
    try:
        yield
    except ModelError as error:
        if source is None:
            raise
        raise ModelError(str(error).replace(str(folder), str(source))) from error


def _is_built(out: Path, built_from: dict[str, Any]) -> bool:
    if not (out / RECORD_NAME).is_file():
        return False
    found = read_record(out)["built_from"]
    return bool({**found, "asset": with_license(found["asset"])} == built_from)


def _link_safetensors(spec: ModelSpec, source: Path | None, folder: Path) -> None:
    """Link the weights, which can be large, and copy the small files, which may be edited here."""
    assert source is not None  # ModelSpec requires an asset
    if not (source / "config.json").is_file():
        raise ModelError(f"{source}: config.json is missing; 'path' must name a model folder")
    outline = check_tensors(source)
    refuse_not_finite(source, stored_tensors(source))
    if is_multimodal(load_config(source)):
        return _extract_text_model(source, folder)
    for path in weight_files(source):
        try:
            os.link(path.resolve(), folder / path.name)
        except OSError:  # another file system, or one without hard links
            if spec.start_from:  # the run's own folder is temporary
                shutil.copyfile(path, folder / path.name)
            else:
                os.symlink(path.resolve(), folder / path.name)
    if len(weight_files(source)) > 1:
        shutil.copyfile(source / INDEX_NAME, folder / INDEX_NAME)
    copy_small_files(source, folder)
    stored = tensor_shapes(source)
    if any(name.endswith(tied) for tied in outline.all_tied_weights_keys for name in stored):
        # Tied by config.json, but with a head in the file: tied only if the two are equal.
        tied = load_model(source, "auto").config.tie_word_embeddings
        config = read_object(source / "config.json") | {"tie_word_embeddings": tied}
        atomic_write_json(folder / "config.json", config)


def _extract_text_model(source: Path, folder: Path) -> None:
    """Keep the language model of a multimodal one: text neither reaches nor trains the rest."""
    import torch
    from transformers import AutoModelForCausalLM

    whole: Any = load_model(source, "auto")
    config, head = whole.config.get_text_config(), whole.get_output_embeddings()
    # The language model's own configuration may differ from what the whole model does.
    config.tie_word_embeddings = whole.get_input_embeddings().weight is head.weight
    text = AutoModelForCausalLM.from_config(config, dtype=whole.dtype).eval()
    try:
        text.get_decoder().load_state_dict(whole.get_decoder().state_dict())
        text.get_output_embeddings().load_state_dict(head.state_dict())
        ids = torch.arange(min(8, config.vocab_size))[None]
        with torch.inference_mode():
            found, wanted = (m(input_ids=ids, use_cache=False).logits for m in (text, whole.eval()))
        same = torch.equal(found, wanted)
    except (AttributeError, RuntimeError):  # it is not built from the same parts
        same = False
    if not same:
        raise ModelError(
            f"{source}: the language model of {type(whole).__name__} computes something else when "
            "it is alone; use the language model that it was made from"
        )
    text.generation_config = whole.generation_config  # its end tokens, for example
    save_weights(text, folder)
    copy_small_files(source, folder)


def _convert_gguf(spec: ModelSpec, source: Path | None, folder: Path) -> None:
    """Unpack a GGUF file once: opening it takes 25 s, safetensors 1 s."""
    from sft_tradeoff.models.gguf import load_gguf

    assert source is not None and spec.file is not None  # ModelSpec requires both
    file = source if source.is_file() else source / spec.file
    if not file.is_file():
        present = sorted(p.relative_to(source).as_posix() for p in source.rglob("*.gguf"))
        raise ModelError(f"file not found: {file}; set 'file' to one of {present}")
    model, tokenizer = load_gguf(file)
    refuse_not_finite(file, model.named_parameters())
    save_weights(model, folder)
    tokenizer.save_pretrained(folder)


def _build_random(spec: ModelSpec, source: Path | None, folder: Path) -> None:
    """Write the tiny untrained model."""
    from sft_tradeoff.models.random_weights import random_model

    model, tokenizer = random_model()
    save_weights(model, folder)
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff build-model``."""
    parser.add_argument("--name", required=True, help="name in the catalogue")
    parser.add_argument("--spec", required=True, help="JSON of the model's catalogue entry")
    parser.add_argument("--source", type=Path, help="the asset's folder or file; random: none")
    parser.add_argument("--source-record", type=Path, help="the asset's SOURCE.json")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")


def main(args: argparse.Namespace) -> None:
    """Build one model folder."""
    with run_main(args.name):
        asset = check_asset(args.source, args.source_record) if args.source_record else None
        build_model(args.name, parse_model(args.name, args.spec), args.source, args.out, asset)
