"""Find and check the model of `make own`: a name in the catalogue, or the user's own."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.assets.fetch import cache_dir
from sft_tradeoff.assets.spec import LocalAsset
from sft_tradeoff.models.folder import ADAPTER_CONFIG, small_files, weight_files
from sft_tradeoff.models.source import check_gguf, gguf_file, no_model
from sft_tradeoff.models.spec import built_model
from sft_tradeoff.models.supported import is_multimodal, load_config, refuse_unsupported, window
from sft_tradeoff.models.tensor_names import check_tensors
from sft_tradeoff.models.tokenizer import check_chat, generation_ends, load_tokenizer
from sft_tradeoff.study.config import CATALOGUE_PATH, Study, parse_study, read_catalogue
from sft_tradeoff.study.names import HASH_DIGITS, slug
from sft_tradeoff.study.starts import root_of
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import sha256_of
from sft_tradeoff.system.validation import closest
from sft_tradeoff.training.memory import model_size

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from sft_tradeoff.study.spec import MethodSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """The model of a study.

    Args:
        name: Name in the catalogue, or the one that a folder gets.
        identity: Changes with the model's files and settings.
        entries: What the study file adds to the catalogue.
        window: Tokens that it reads at most; None: any number, or not known yet.
    """

    name: str
    identity: str
    entries: dict[str, Any] = field(default_factory=dict)
    window: int | None = None


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
    """Find a model in the catalogue, or check the user's folder or GGUF file.

    Models are cached by name, so the name of a folder contains a hash of its content, and that of
    a catalogue model with other chat template variables a hash of these.

    Args:
        model: Name in the catalogue, a folder of safetensors, or a GGUF file.
        variables: Of its chat template.

    Raises:
        UserError: If there is no such model, or it cannot be used.
    """
    catalogue = read_catalogue()["models"]
    if model in catalogue:
        return _of_catalogue(model, catalogue[model], variables or {})
    path = Path(model).expanduser()
    try:
        if file := gguf_file(path):
            entry = {"format": "gguf", "file": file.name}
            return _own(file, [file], entry, variables or {}, check_gguf(file))
        if not (path / "config.json").is_file():
            raise UserError(f"model: {no_model(path)}" if path.exists() else _unknown(model))
        files = _check_folder(path, variables or {})
        most = window(load_config(path))
        return _own(path, files, {"format": "safetensors"}, variables or {}, most)
    except PermissionError as error:
        raise UserError(
            f"model: {error.filename} may not be read by this user; correct its permissions"
        ) from error


def _of_catalogue(
    name: str, entry: dict[str, Any], variables: Mapping[str, bool | int | str]
) -> Model:
    folder = built_model(cache_dir(), name)
    is_here = (folder / "config.json").is_file()
    limit = window(load_config(folder)) if is_here else None
    if not variables:
        return Model(name, name, window=limit)
    fixed = entry.get("chat_template_args", {})  # the cached template sets these itself
    if is_here:
        load_tokenizer(folder, {k: v for k, v in variables.items() if k not in fixed})
    values = {**fixed, **variables}
    identity = json.dumps([name, values], sort_keys=True)
    changed = f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:HASH_DIGITS]}"
    entries = {"model_catalogue": {changed: entry | {"chat_template_args": values}}}
    return Model(changed, identity, entries, limit)


def _check_folder(folder: Path, variables: Mapping[str, bool | int | str]) -> list[Path]:
    """Check all that is possible without reading the weights, and return the files that count."""
    small = small_files(folder)
    config = refuse_unsupported(folder)
    generation_ends(folder)  # reads the generation settings, as check_tensors does
    outline = check_tensors(folder)
    check_chat(folder, variables)
    if not is_multimodal(config):
        from sft_tradeoff.models.head import check_head_alone

        check_head_alone(outline)
    if (folder / ADAPTER_CONFIG).is_file():
        logger.warning(
            "warning: %s is ignored, and the weights are used as they are; if the adapter is not "
            "part of them yet, merge it first (merge_and_unload() in peft)",
            folder / ADAPTER_CONFIG,
        )
    return sorted({*weight_files(folder), *small})


def _own(
    path: Path,
    files: list[Path],
    entry: dict[str, Any],
    variables: Mapping[str, Any],
    most: int | None,
) -> Model:
    """The user's own model, identified by its files."""
    is_folder = path.is_dir()
    listed = "".join(f"{f.name if is_folder else ''} {sha256_of(f)}\n" for f in files)
    listed += json.dumps(variables, sort_keys=True) if variables else ""
    identity = hashlib.sha256(listed.encode()).hexdigest()
    stem = path.resolve().name if is_folder else path.stem
    name = f"{slug(stem)}-{identity[:HASH_DIGITS]}"
    entry = {"asset": name} | entry | ({"chat_template_args": dict(variables)} if variables else {})
    entries = {
        "assets": {name: {"source": "local", "path": str(path)}},
        "model_catalogue": {name: entry},
    }
    return Model(name, identity, entries, most)


def _unknown(model: str) -> str:
    return (
        f"model: {model!r} is neither a folder nor a name in {CATALOGUE_PATH}; "
        f"{closest(model, read_catalogue()['models'])} (a model on the hub: download it with 'hf "
        "download OWNER/NAME --local-dir FOLDER' and give the folder, or add it to the catalogue "
        "with its revision)"
    )


def fit_window(study: dict[str, Any], most: int | None, source: Path) -> dict[str, Any]:
    """Lower the limits of a new study to the window of its model.

    Args:
        study: Content of a study file.
        most: Tokens that the model reads; None: any number.
        source: The template, where wrong values can be corrected.

    Raises:
        ConfigError: If a value is wrong.
    """
    parsed = parse_study(study | {"study": source.stem}, str(source))
    limits = {part: getattr(parsed, part).max_length for part in ("training", "evaluation")}
    wider = {part: n for part, n in limits.items() if most is not None and n > most}
    if wider:
        logger.info(
            "the model reads %d tokens at most: %s lowered to this number",
            most,
            " and ".join(f"{part}.max_length ({n})" for part, n in wider.items()),
        )
    return study | {part: study.get(part, {}) | {"max_length": most} for part in wider}


def check_models(study: Study, source: Path) -> None:
    """Check a study's settings against its models, as far as these are here.

    Args:
        study: The study that will run.
        source: The file in which its settings can be changed.

    Raises:
        UserError: If a limit exceeds a model's window, or a method cannot train a model.
    """
    for name in study.models:
        if (folder := folder_of(study, name)) is None:
            continue
        config = load_config(folder)
        most = window(config)
        for part in ("training", "evaluation"):
            length = getattr(study, part).max_length
            if most is not None and length > most:
                raise UserError(
                    f"{source}: {part}.max_length: {length} exceeds the window of {name}, {most} "
                    f"tokens; lower it to {most}"
                )
        for method in {method.name: method for method in study.methods}.values():
            _check_adapters(method, config, name, source)


def _check_adapters(method: MethodSpec, config: PretrainedConfig, model: str, source: Path) -> None:
    """Say how much of a model the adapters of a method reach."""
    if (adapter := method.adapter()) is None:
        return
    try:
        size = model_size(config.get_text_config(), adapter)
    except UserError as error:
        raise UserError(f"{source}: methods: {method.name!r}: {error}") from error
    logger.info(
        "method %s has adapters in layers with %.0f %% of the weights of %s; the others stay as "
        "they are",
        method.name,
        100 * size.adapted,
        model,
    )


def folder_of(study: Study, model: str) -> Path | None:
    """Return a model's folder in the cache, or the user's own; None if it is not here yet.

    For a model that starts from a run that is the pretrained model's.
    """
    model = root_of(study, model)  # a model that starts from a run has its window and tokenizer
    asset = study.assets.get(str(study.model_catalogue[model].asset))
    folders = [built_model(cache_dir(), model)]
    if isinstance(asset, LocalAsset):
        folders.append(Path(asset.path).expanduser())
    return next((folder for folder in folders if (folder / "config.json").is_file()), None)
