"""Find and check the model of `make own`: a name in the catalogue, or the user's folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_tradeoff.models.folder import SMALL_FILES, weight_files
from sft_tradeoff.models.tensor_names import check_tensors
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.config import CATALOGUE_PATH, read_catalogue
from sft_tradeoff.study.names import HASH_DIGITS, slug
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import sha256_of
from sft_tradeoff.system.validation import closest


@dataclass(frozen=True)
class Model:
    """The model of a study.

    Args:
        name: Name in the catalogue, or the one that a folder gets.
        identity: Changes with the model's files and settings.
        entries: What the study file adds to the catalogue.
    """

    name: str
    identity: str
    entries: dict[str, Any] = field(default_factory=dict)


def template_variables(text: str) -> dict[str, bool | int | str]:
    """Read variables of a chat template, such as ``enable_thinking=false``.

    Raises:
        UserError: If it is neither ``name=value, ...`` nor a JSON object of strings, integers
            and booleans.
    """
    pairs: Any = [part.partition("=")[::2] for part in text.split(",") if part.strip()]
    pairs = [(name, _value(value.strip())) for name, value in pairs]
    try:
        if text.lstrip().startswith("{"):
            pairs = json.loads(text, object_pairs_hook=list)
    except ValueError:
        pairs = [("", text)]
    found: dict[str, bool | int | str] = {}
    for key, value in pairs:
        name = key.strip()
        is_usable = isinstance(value, bool | int | str) and value != ""
        if not name.isidentifier() or name in found or not is_usable:
            raise UserError(
                f"chat_template_args: {text!r} cannot be read; write name=value, each name "
                "once, separated by commas (enable_thinking=false), or a JSON object of strings, "
                "integers and booleans"
            )
        found[name] = value
    return found


def _value(text: str) -> bool | int | str:
    """Read a boolean, an integer or a string."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if re.fullmatch(r"0|-?[1-9]\d*", text) else text


def find_model(model: str, variables: Mapping[str, bool | int | str] | None = None) -> Model:
    """Find a model in the catalogue, or check the folder that holds one.

    Models are cached by name, so the name of a folder contains a hash of its content, and that of
    a catalogue model with other chat template variables a hash of these.

    Args:
        model: Name in the catalogue, or a folder of safetensors.
        variables: Of its chat template.

    Raises:
        UserError: If there is no such model, or the folder cannot be used.
    """
    catalogue = read_catalogue()["models"]
    if model in catalogue:
        if not variables:
            return Model(model, model)
        values = {**catalogue[model].get("chat_template_args", {}), **variables}
        identity = json.dumps([model, values], sort_keys=True)
        name = f"{model}-{hashlib.sha256(identity.encode()).hexdigest()[:HASH_DIGITS]}"
        changed = catalogue[model] | {"chat_template_args": values}
        return Model(name, identity, {"model_catalogue": {name: changed}})
    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(_no_model(model, folder, catalogue))
    load_tokenizer(folder, variables or {})
    check_tensors(folder)
    small = [path for path in folder.iterdir() if path.suffix in SMALL_FILES]
    files = sorted({*weight_files(folder), *small})
    listing = "".join(f"{path.name} {sha256_of(path)}\n" for path in files)
    listing += json.dumps(variables, sort_keys=True) if variables else ""
    identity = hashlib.sha256(listing.encode()).hexdigest()
    name = f"{slug(folder.resolve().name)}-{identity[:HASH_DIGITS]}"
    entry: dict[str, Any] = {"asset": name, "format": "safetensors"}
    if variables:
        entry["chat_template_args"] = dict(variables)
    entries = {
        "assets": {name: {"source": "local", "path": str(folder)}},
        "model_catalogue": {name: entry},
    }
    return Model(name, identity, entries)


def _no_model(model: str, folder: Path, catalogue: dict[str, Any]) -> str:
    if folder.is_dir():
        return f"model: {model!r} has no config.json; give the folder that save_pretrained wrote"
    if folder.exists():
        return f"model: {model!r} is a file; give the folder with config.json and safetensors"
    return (
        f"model: {model!r} is neither a folder nor a name in {CATALOGUE_PATH}; "
        f"{closest(model, catalogue)} (a model on the hub: add it there with its revision)"
    )
