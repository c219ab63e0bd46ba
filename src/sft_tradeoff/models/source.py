"""What lies at a path that a user gives as a model."""

from __future__ import annotations

from pathlib import Path

from sft_tradeoff.models.folder import ADAPTER_CONFIG, ModelError, only_adapter, reason
from sft_tradeoff.system.text import listing

_SEVERAL = 5  # folders or files that a message names


def gguf_file(path: Path) -> Path | None:
    """Return the GGUF file at a path or alone in a folder without ``config.json``; None if none.

    Raises:
        ModelError: If a folder has several.
    """
    if path.is_file() and path.suffix == ".gguf":
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        raise ModelError(
            f"model: {path} has {len(found)} GGUF files; give one of them: "
            f"{listing(found, limit=_SEVERAL)}"
        )
    return found[0] if found else None


def check_gguf(file: Path) -> int | None:
    """Check the header of a GGUF file; the weights are converted later.

    Returns:
        The number of tokens that the model reads at most, if the file says it.

    Raises:
        ModelError: If it is damaged, one of several parts, or has no chat template.
    """
    from transformers.integrations.gguf.reader import read_gguf_metadata

    try:
        fields, _ = read_gguf_metadata(str(file))
    except Exception as error:  # depends on the file's bytes
        raise ModelError(
            f"{file} cannot be read as a GGUF model ({reason(error)}); download it again"
        ) from error
    if (parts := fields.get("split.count", 1)) > 1:
        raise ModelError(
            f"{file} is one of {parts} parts; join them with 'llama-gguf-split --merge', or use "
            "the model's safetensors folder"
        )
    if not fields.get("tokenizer.chat_template"):
        raise ModelError(
            f"{file} has no chat template; use the model's safetensors folder, with "
            "chat_template.jinja in it"
        )
    most: int | None = fields.get(f"{fields.get('general.architecture')}.context_length")
    return most


def no_model(path: Path) -> str:
    """Say why a path without ``config.json`` is no model folder, and what to give instead."""
    if not path.is_dir():
        return f"{str(path)!r} is a file; give the folder with config.json and safetensors"
    if (path / "config.json").is_symlink():
        return f"{path / 'config.json'} is a link to a file that is not there; copy the model again"
    inside = sorted(found.parent for found in path.glob("*/config.json"))
    if (path / "snapshots").is_dir():  # a model in the hub's cache
        inside = sorted(found.parent for found in path.glob("snapshots/*/config.json"))
    if inside:
        one = "the folder" if len(inside) == 1 else "one of the folders"
        return (
            f"{str(path)!r} has no config.json itself; give {one} in it: "
            f"{listing(inside, limit=_SEVERAL)}"
        )
    if (path / ADAPTER_CONFIG).is_file():
        return only_adapter(path)
    return f"{str(path)!r} has no config.json; give the folder that save_pretrained wrote"
