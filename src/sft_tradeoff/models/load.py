"""Load and save the weights of a model folder, with checks.

A loaded model has finite weights, all from its files. A saved one is loaded once before the folder
gets its name, so what is evaluated is what was trained, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sft_tradeoff.models.folder import (
    RECORD_NAME,
    ModelError,
    advice,
    check_small_files,
    check_weights,
    copy_small_files,
    describe_weights,
    reason,
    refuse_deleted,
    staged_folder,
    tensor_shapes,
    weight_files,
)
from sft_tradeoff.models.supported import auto_class, load_config
from sft_tradeoff.models.tensor_names import (
    keep_own_head,
    load_folder,
    persistent_buffers,
    without_bars,
)
from sft_tradeoff.system.allocator import drop_pages
from sft_tradeoff.system.files import atomic_write_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PIECE = 2**20  # elements compared at a time


def load_model(path: str | Path, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Load the weights of a model folder.

    Only safetensors are read and no code from the folder runs.

    Args:
        path: Folder with ``config.json`` and safetensors.
        dtype: Of the parameters; ``auto``: that of the file.

    Raises:
        ModelError: If weights are missing, damaged, not safetensors or of another model.
    """
    tensor_shapes(Path(path))  # reads headers only: a clear error for a damaged file
    check_weights(Path(path))
    check_small_files(Path(path))
    model = _load(path, dtype)
    refuse_not_finite(Path(path), _tensors(model))
    return model


def refuse_not_finite(source: Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights that are not all finite.

    Args:
        source: Folder or file that the message names.
        tensors: The weights with their names.

    Raises:
        ModelError: Naming a weight.
    """
    if broken := _not_finite(tensors):
        raise ModelError(
            f"{source}: weight {broken!r} holds NaN or infinity: it is damaged, or training went "
            f"wrong; {advice(source)}"
        )


def _load(path: str | Path, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Load weights whose files have been checked."""
    folder = Path(path)
    try:
        model = load_folder(folder, auto_class(load_config(folder), folder), dtype=dtype)
    except (FileNotFoundError, ModelError):  # deleted since the check; the stage says what to do
        raise
    except (ValueError, OSError, RuntimeError) as error:
        refuse_deleted(folder)
        raise ModelError(f"{path}: Transformers cannot load this model: {reason(error)}") from error
    return keep_own_head(model)


def stored_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a folder's files with their names, one at a time."""
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)


def is_on_bfloat16_grid(folder: Path) -> bool:
    """Whether bfloat16 represents every weight of a folder exactly."""
    import torch

    for _, tensor in stored_tensors(folder):
        if tensor.dtype == torch.bfloat16 or not tensor.is_floating_point():
            continue
        pieces = tensor.reshape(-1).split(PIECE)
        if not all(torch.equal(piece, piece.bfloat16().to(piece.dtype)) for piece in pieces):
            return False
    return True


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from persistent_buffers(model).items()


def _not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """Name of a weight that holds NaN or infinity, if any.

    Comparisons with NaN are false, so most tasks would still give a score for broken weights.
    """
    import torch

    for name, tensor in tensors:
        # In float64 finite weights never sum to infinity.
        sums = (piece.sum(dtype=torch.float64) for piece in tensor.reshape(-1).split(PIECE))
        if not all(found.isfinite() for found in sums):
            return name
    return None


def save_model(
    model: PreTrainedModel, weights: dict[str, torch.Tensor], base_model: Path, out: Path
) -> None:
    """Write a trained model as a folder that loads like θ0's, tokenizer included.

    Args:
        model: Gives the architecture and persistent buffers.
        weights: Parameter name -> final (master) value, saved in its own dtype.
        base_model: Folder of θ0, whose tokenizer and chat template are copied.
        out: The folder to write; it appears when it is complete.

    Raises:
        ModelError: If the weights are not finite, or the folder loads as another model.
    """
    dtype = next(iter(weights.values())).dtype  # a buffer's may differ
    weights = {**persistent_buffers(model), **weights}
    with staged_folder(out) as folder:
        save_weights(model, folder, weights)
        # The model computed in another dtype; whoever trusts the config must not round.
        config = json.loads((folder / "config.json").read_text())
        config["dtype"] = str(dtype).removeprefix("torch.")
        atomic_write_json(folder / "config.json", config)
        copy_small_files(base_model, folder)
        atomic_write_json(folder / RECORD_NAME, describe_weights(folder), checksum=True)
        _refuse_other_model(folder, model, weights)


@without_bars()
def _refuse_other_model(
    folder: Path, model: PreTrainedModel, weights: dict[str, torch.Tensor]
) -> None:
    """Load a saved model and compare it with ``weights``: every tensor, and logits of a few tokens.

    The check needs almost no memory: one model shares the memory of ``weights``, and the other maps
    the file, whose pages are dropped once they are compared. Equal tensors then replace the mapped
    ones to compute the logits.
    """
    import torch

    loaded = _load(folder, "auto").eval()
    saved = type(model).from_pretrained(
        None, config=model.config, state_dict=weights, dtype=loaded.dtype
    )
    saved.set_attn_implementation(loaded.config._attn_implementation)  # training sets another
    if broken := _not_finite(_tensors(saved)):
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
            f"{len(other)} in all): Transformers converts it irreversibly; use another model"
        )


def _differing(saved: PreTrainedModel, loaded: PreTrainedModel) -> list[str]:
    """Names of tensors that differ in any bit; drops the memory of ``loaded`` on the way."""
    import torch

    found = dict(loaded.named_parameters()) | persistent_buffers(loaded)
    expected = saved.state_dict()
    other = sorted(_tied(saved) ^ _tied(loaded))
    for name, tensor in found.items():  # tied ones only once: their memory is gone afterwards
        pair = expected[name].reshape(-1), tensor.reshape(-1)
        same = expected[name].shape == tensor.shape
        for wanted, got in zip(*(flat.split(PIECE) for flat in pair), strict=same):
            same = same and torch.equal(wanted, got)
            drop_pages(got)
        if not same:
            other.append(name)
    return other


def _tied(model: PreTrainedModel) -> set[str]:
    """Names of tensors that are tied to another name's tensor."""
    once = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - once


@without_bars()
def save_weights(
    model: PreTrainedModel, folder: Path, weights: dict[str, torch.Tensor] | None = None
) -> None:
    """Write configuration and weights (default: the model's own), readable like other files."""
    model.save_pretrained(folder, state_dict=weights)
    for path in folder.glob("*.safetensors"):
        # safetensors creates files that only their owner can read, but the cache may be shared
        path.chmod((folder / "config.json").stat().st_mode)


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """Set every dropout of a model, and the jitter of its routers, to zero, in place.

    Otherwise results would depend on how batches are split, and θ0 would differ from call to call.
    """
    for module in model.modules():
        for name in ("p", *(n for n in vars(module) if "drop" in n or "jitter" in n)):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model
