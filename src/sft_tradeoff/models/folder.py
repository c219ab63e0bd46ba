"""A model folder on disk: its files, their checksums, and how it appears once it is complete."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sft_tradeoff.assets.fetch import cache_dir
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import (
    DamagedFileError,
    raise_disk_error,
    read_json,
    remove_leftovers,
    sha256_of,
)
from sft_tradeoff.system.text import listing

RECORD_NAME = "MODEL.json"
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
LONGEST_REASON = 300  # characters of another library's error that a message quotes
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
SMALL_FILES = (".json", ".jinja", ".model", ".txt")  # configuration and tokenizer
_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "gguf")


class ModelError(UserError):
    """A model folder cannot be used; the message names the file and the fix."""


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder; several if the weights are sharded.

    Raises:
        ModelError: If there are none, or the index is damaged or lists one that is missing.
    """
    index = folder / INDEX_NAME
    names = [WEIGHTS_NAME]
    if index.is_file() and not (folder / WEIGHTS_NAME).is_file():
        names = _indexed(index)
    for name in names:
        if not (folder / name).is_file():
            raise ModelError(_no_weights(folder, name))
    return [folder / name for name in names]


def _indexed(index: Path) -> list[str]:
    """Names of the files that an index lists, all in its own folder."""
    names = read_object(index).get("weight_map")
    files = list(names.values()) if isinstance(names, dict) else []
    odd = [name for name in files if not isinstance(name, str) or Path(name).name != name]
    if not files or odd:
        what = f"{odd[0]!r} is no file of this folder" if odd else "there is none"
        raise ModelError(
            f"{index}: 'weight_map' must give the file of every tensor, but {what}; "
            f"{advice(index.parent)}"
        )
    return sorted(set(files))


def _no_weights(folder: Path, name: str) -> str:
    pickled = sorted(p.name for p in folder.glob("*") if p.suffix in _PICKLED)
    others = sorted(p.name for p in folder.glob("*.safetensors"))
    if (folder / name).is_symlink():
        return f"{folder / name} is a link to a file that is not there; {advice(folder)}"
    if (folder / name).exists():
        return f"{folder / name} is a folder, a pipe or a device, not a file; {advice(folder)}"
    if (folder / ADAPTER_WEIGHTS).is_file() and name == WEIGHTS_NAME:
        return only_adapter(folder)
    if pickled:
        return (
            f"{folder}: the weights are pickled ({pickled[0]}) and pickles can run code; only "
            "safetensors are read: if you trust the file, load the model once with Transformers "
            "and write it with save_pretrained"
        )
    if packed := sorted(folder.glob("*.gguf")):
        return f"{folder} has GGUF weights; give the file itself: {listing(packed, limit=3)}"
    if others and name == WEIGHTS_NAME:
        return (
            f"{folder}: the weights must be in {name}, or in the files that {INDEX_NAME} lists, "
            f"but the folder has {listing(others, limit=3)}; rename the file, or add the index"
        )
    return f"{folder}: {name} is missing; {advice(folder)}"


def only_adapter(folder: Path) -> str:
    """Return what to do with a folder that holds an adapter but no model."""
    base = None
    if (folder / ADAPTER_CONFIG).is_file():
        base = read_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    return (
        f"{folder} holds an adapter, not a whole model; merge it into its base model "
        f"({base or 'the one that it was trained on'}): with peft, AutoPeftModelForCausalLM"
        ".from_pretrained(folder).merge_and_unload().save_pretrained(new_folder), save the "
        "tokenizer there too, and use the new folder"
    )


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a model folder.

    Raises:
        ModelError: If it is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error}); {advice(path.parent)}") from error
    if not isinstance(content, dict):
        raise ModelError(
            f"{path} holds a {type(content).__name__}, not an object of keys and values; "
            f"{advice(path.parent)}"
        )
    return content


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """Return the shapes of the stored tensors by name, from the headers of the weight files.

    Raises:
        ModelError: If a file is damaged; the header states the length, so truncation shows here.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, list[int]] = {}
    for path in weight_files(folder):
        path.open("rb").close()  # safetensors calls a file without permission missing
        try:
            with safe_open(path, framework="numpy") as tensors:
                shapes |= {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ModelError(
                f"{path} is damaged or truncated ({error}); {advice(folder)}"
            ) from error
    return shapes


def count_parameters(folder: Path) -> int:
    """Return the number of stored parameters.

    Raises:
        ModelError: As :func:`tensor_shapes`.
    """
    return sum(math.prod(shape) for shape in tensor_shapes(folder).values())


def check_weights(folder: Path) -> None:
    """Compare the weights of a folder with their checksums, if ``MODEL.json`` has any.

    A flipped bit would load without an error and make every result wrong.

    Raises:
        ModelError: If a file has changed since it was written.
    """
    _check(folder, "weights")


def check_small_files(folder: Path) -> None:
    """Like :func:`check_weights`, for configuration, tokenizer and template.

    Raises:
        ModelError: If a file has changed since it was written.
    """
    _check(folder, "small_files")


def _check(folder: Path, which: str) -> None:
    if not (folder / RECORD_NAME).is_file():
        return
    for name, digest in read_record(folder).get(which, {}).items():
        if sha256_of(folder / name) != digest:
            raise ModelError(
                f"{folder / name} has changed since it was written; {advice(folder)}; to use a "
                f"modified model, pass a copy of the folder without {RECORD_NAME}"
            )


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``MODEL.json``.

    Raises:
        ModelError: If it has changed since it was written.
    """
    try:
        record: dict[str, Any] = read_json(folder / RECORD_NAME)
    except DamagedFileError as error:
        raise ModelError(
            f"{folder / RECORD_NAME} has changed since it was written; {advice(folder)}"
        ) from error
    return record


def reason(error: Exception) -> str:
    """Return another library's error as one line of limited length."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + " ..."


def refuse_deleted(folder: Path) -> None:
    """Say that a model folder is gone; Transformers would take its path for a repository's name.

    Raises:
        FileNotFoundError: If it has no ``config.json``.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(config))


def advice(folder: Path) -> str:
    """Return what to do about a damaged folder: ours can be made again, a user's own cannot."""
    made = [(cache_dir() / name).resolve() for name in ("assets", "models")]
    is_of_a_run = (folder.parent / "train.json").is_file()
    # results/<study>/models/<model>: θ0 is the weights of one of results/<study>/runs.
    is_of_a_run |= folder.parent.name == "models" and (folder.parents[1] / "runs").is_dir()
    if is_of_a_run or any(map(folder.resolve().is_relative_to, made)):
        return f"delete the folder {folder} and run the same command again"
    return "copy or download the model again, or save it again with save_pretrained"


def describe_weights(folder: Path) -> dict[str, Any]:
    """Checksums, size and versions; ``sha256`` is one digest for all weight files."""
    digests = {path.name: sha256_of(path) for path in weight_files(folder)}
    listing = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    only = digests.get(WEIGHTS_NAME)
    return {
        "sha256": only or hashlib.sha256(listing.encode()).hexdigest(),
        "weights": digests,
        "small_files": {path.name: sha256_of(path) for path in small_files(folder)},
        "n_parameters": count_parameters(folder),
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
    }


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``out`` if the block succeeds (one writer at a time)."""
    remove_leftovers(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as staging:
        # One level down, because only the user may read the temporary folder itself.
        folder = Path(staging) / out.name
        folder.mkdir()
        try:
            yield folder
        except ModelError as error:  # names a folder that will be gone
            raise ModelError(str(error).replace(str(folder), str(out))) from error
        except Exception as error:
            raise_disk_error(folder, error)
            raise
        if out.exists():  # moved in one step: after a kill there is no half-deleted folder
            os.rename(out, Path(staging) / "old")
        os.rename(folder, out)


def copy_small_files(source: Path, folder: Path) -> None:
    """Copy configuration, tokenizer and template, except files that the folder already has.

    Raises:
        ModelError: As :func:`small_files`.
    """
    for path in small_files(source):
        if path.name != INDEX_NAME and not (folder / path.name).exists():  # the index may be stale
            shutil.copyfile(path, folder / path.name)


def small_files(folder: Path) -> list[Path]:
    """Configuration, tokenizer and template of a folder.

    A leftover ``adapter_config.json`` does not count: Transformers would load the adapter, which
    the weights contain already, or fail without it.

    Raises:
        ModelError: If one of them is a pipe, a device, a link to nothing or a link out of the
            folder, which would copy a foreign file into trained models.
    """
    apart = (RECORD_NAME, ADAPTER_CONFIG)
    found = [p for p in folder.iterdir() if p.suffix in SMALL_FILES and p.name not in apart]
    found = sorted(path for path in found if not path.is_dir())
    for path in found:
        if not path.is_file():
            raise ModelError(
                f"{path} is not a regular file but a pipe, a device or a link to nothing; remove "
                "it, or put the file itself there"
            )
        if path.is_symlink() and not _stays_inside(path):
            raise ModelError(
                f"{path} is a link out of the folder, to {path.resolve()}; put the file itself "
                "there, or remove the link"
            )
    return found


def _stays_inside(link: Path) -> bool:
    """Whether a link leads to the same folder, or to the files of a model in the hub's cache."""
    target = link.resolve()
    in_hub_cache = target.parent.name == "blobs" and target.parents[1].name.startswith("models--")
    return in_hub_cache or target.is_relative_to(link.parent.resolve())
