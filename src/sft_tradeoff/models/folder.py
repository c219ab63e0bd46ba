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

from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import DamagedFileError, raise_disk_error, read_json, sha256_of

RECORD_NAME = "MODEL.json"
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
SMALL_FILES = (".json", ".jinja", ".model", ".txt")  # configuration and tokenizer
_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "gguf")


class ModelError(UserError):
    """A model folder cannot be used; the message names the file and the fix."""


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder; several if the weights are sharded.

    Raises:
        ModelError: If there are none, or one that the index lists is missing.
    """
    index = folder / INDEX_NAME
    names = [WEIGHTS_NAME]
    if index.is_file() and not (folder / WEIGHTS_NAME).is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    for name in names:
        if (folder / name).is_file():
            continue
        pickled = [p.name for p in folder.glob("*") if p.suffix in _PICKLED]
        if pickled:
            raise ModelError(
                f"{folder}: the weights are pickled ({pickled[0]}) and pickles can run code; "
                "only safetensors are read: save the model once with save_pretrained"
            )
        raise ModelError(f"{folder}: {name} is missing; {advice(folder)}")
    return [folder / name for name in names]


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """Return the shapes of the stored tensors by name, from the headers of the weight files.

    Raises:
        ModelError: If a file is damaged; the header states the length, so truncation shows here.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, list[int]] = {}
    for path in weight_files(folder):
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


def refuse_deleted(folder: Path) -> None:
    """Say that a model folder is gone; Transformers would take its path for a repository's name.

    Raises:
        FileNotFoundError: If it has no ``config.json``.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(config))


def advice(folder: Path) -> str:
    """Return what to do about a damaged folder."""
    return (
        f"delete the folder {folder} and run the same command again (if you put it there "
        "yourself, download or copy the whole model again)"
    )


def describe_weights(folder: Path) -> dict[str, Any]:
    """Checksums, size and versions; ``sha256`` is one digest for all weight files."""
    digests = {path.name: sha256_of(path) for path in weight_files(folder)}
    listing = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    only = digests.get(WEIGHTS_NAME)
    return {
        "sha256": only or hashlib.sha256(listing.encode()).hexdigest(),
        "weights": digests,
        "small_files": {path.name: sha256_of(path) for path in _small_files(folder)},
        "n_parameters": count_parameters(folder),
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
    }


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``out`` if the block succeeds (one writer at a time)."""
    for leftover in out.parent.glob(f".{out.name}-*"):  # left by a killed run
        shutil.rmtree(leftover, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as staging:
        # One level down, because only the user may read the temporary folder itself.
        folder = Path(staging) / out.name
        folder.mkdir()
        try:
            yield folder
        except Exception as error:
            raise_disk_error(folder, error)
            raise
        if out.exists():  # moved in one step: after a kill there is no half-deleted folder
            os.rename(out, Path(staging) / "old")
        os.rename(folder, out)


def copy_small_files(source: Path, folder: Path) -> None:
    """Copy configuration, tokenizer and template, except files that the folder already has."""
    for path in _small_files(source):
        if path.name != INDEX_NAME and not (folder / path.name).exists():  # the index may be stale
            shutil.copyfile(path, folder / path.name)


def _small_files(folder: Path) -> list[Path]:
    paths = (p for p in folder.iterdir() if p.suffix in SMALL_FILES and p.name != RECORD_NAME)
    return sorted(path for path in paths if path.is_file())
