"""Merge θ0 and a trained run, tensor by tensor: the last stage of Wise-FT.

Nothing is trained. Weights are read through memory maps and written one file at a time, so merging
needs the memory of the largest file, not of two models.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from sft_tradeoff.models.folder import (
    INDEX_NAME,
    RECORD_NAME,
    check_small_files,
    check_weights,
    count_parameters,
    describe_weights,
    read_record,
    staged_folder,
    weight_files,
)
from sft_tradeoff.models.tensor_names import check_tensors
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.runs import RunConfig, read_config
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import atomic_write_json, checksum_path
from sft_tradeoff.system.provenance import meta_info, peak_memory_bytes, run_info
from sft_tradeoff.training.rounding import initial_tensors, rounding_facts

if TYPE_CHECKING:
    from torch import Tensor

    Combine = Callable[[Tensor, Tensor], Tensor]

logger = logging.getLogger(__name__)


class MergeError(UserError):
    """Two models cannot be combined; the message names the tensor or the method."""


def merge_folders(base_model: Path, trained: Path, out: Path, combine: Combine) -> None:
    """Combine every weight of a trained model with θ0's into a model folder.

    Anonymous memory peaks at one output file and one tensor; the inputs stay in the page cache.

    Args:
        base_model: Folder of θ0, in any floating-point dtype and any number of files; tensors that
            the trained model lacks, such as a stored copy of a tied head, are left out.
        trained: Folder of the trained model; gives names of tensors and files, tokenizer etc.
        out: The folder to write; it appears when it is complete.
        combine: Final tensor from θ0's and the trained one; the same dtype for all of them.

    Raises:
        MergeError: If θ0 lacks a tensor or has it in another shape, or if the result differs when
            it is read back.
        ModelError: If weights are missing, damaged or not safetensors.
    """
    for source in (base_model, trained):
        count_parameters(source)  # reads headers only: a clear error for a damaged file
        check_weights(source)
        check_small_files(source)
    with staged_folder(out) as folder, initial_tensors(base_model, trained) as initial:
        _copy_small_files(trained, folder)
        n_bytes = 0
        for path in tqdm(weight_files(trained), "merge", disable=None):
            dtype, size = _merge_shard(initial, path, folder / path.name, combine)
            n_bytes += size
        _correct_type(folder, dtype, n_bytes)
        atomic_write_json(folder / RECORD_NAME, describe_weights(folder), checksum=True)


def _merge_shard(
    initial: dict[str, Any], source: Path, target: Path, combine: Combine
) -> tuple[str, int]:
    """Write one weight file; return its dtype (as in ``config.json``) and size in bytes."""
    merged: dict[str, Tensor] = {}
    with safe_open(source, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            merged[name] = _combined(name, initial, file.get_tensor(name), combine)
        metadata = file.metadata()
    save_file(merged, target, metadata=metadata)
    _refuse_other_content(target, merged)
    # safetensors creates files that only their owner can read, but results may be shared
    target.chmod((target.parent / "config.json").stat().st_mode)
    types = [tensor.dtype for tensor in merged.values() if tensor.is_floating_point()]
    return str(types[0]).removeprefix("torch."), sum(t.nbytes for t in merged.values())


def _combined(name: str, initial: dict[str, Any], trained: Tensor, combine: Combine) -> Tensor:
    """Merge one tensor; integers such as counters cannot be averaged, so they must be equal."""
    start = _initial_tensor(initial, name)
    _refuse_other_shape(name, start, trained)
    if trained.is_floating_point():
        return combine(start, trained)
    if not start.equal(trained):
        raise MergeError(
            f"tensor {name!r} holds integers that differ between θ0 and the trained model; "
            "merge a run with the base model that it was trained from"
        )
    return trained.clone()


def _refuse_other_content(path: Path, tensors: dict[str, Tensor]) -> None:
    """Read a file back: what is evaluated is what was merged, bit for bit."""
    with safe_open(path, framework="pt") as file:
        for name, tensor in tensors.items():
            if not file.get_tensor(name).equal(tensor):
                raise MergeError(
                    f"{path.name}: tensor {name!r} differs when it is read back: the trained "
                    "weights hold NaN, or the disk is damaged"
                )


def _initial_tensor(initial: dict[str, Any], name: str) -> Tensor:
    if name not in initial:
        raise MergeError(
            f"θ0 has no tensor {name!r}, which the trained model has; merge a run with the base "
            "model that it was trained from"
        )
    tensor: Tensor = initial[name].get_tensor(name)
    return tensor


def _refuse_other_shape(name: str, initial: Tensor, trained: Tensor) -> None:
    if initial.shape != trained.shape:
        raise MergeError(
            f"tensor {name!r} is {list(initial.shape)} in θ0 and {list(trained.shape)} in the "
            "trained model; merge a run with the base model that it was trained from"
        )


def _copy_small_files(source: Path, folder: Path) -> None:
    """Copy configuration, tokenizer and index; ``MODEL.json`` describes other weights."""
    record = (RECORD_NAME, checksum_path(source / RECORD_NAME).name)
    for path in source.iterdir():
        if path.is_file() and path.suffix != ".safetensors" and path.name not in record:
            shutil.copyfile(path, folder / path.name)


def _correct_type(folder: Path, dtype: str, n_bytes: int) -> None:
    """Correct dtype and size in config and index, so that no reader rounds on loading."""
    config = json.loads((folder / "config.json").read_text())
    atomic_write_json(folder / "config.json", config | {"dtype": dtype})
    if (folder / INDEX_NAME).exists():
        index = json.loads((folder / INDEX_NAME).read_text())
        index.setdefault("metadata", {})["total_size"] = n_bytes
        atomic_write_json(folder / INDEX_NAME, index)


def merge(config: RunConfig, base_model: Path, trained: Path, out: Path) -> None:
    """Merge one run and write ``out/`` (weights) and ``out.parent/train.json``.

    Args:
        config: The resolved run; its method and options say how tensors combine.
        base_model: Folder of θ0.
        trained: Folder of the run that is merged with θ0.
        out: Folder for the final weights.

    Raises:
        MergeError: If the method does not merge, or the two models do not match.
    """
    started = time.monotonic()
    method = METHODS[config.method.name]
    combine = method.merge
    if combine is None:
        names = ", ".join(name for name, m in METHODS.items() if m.merge)
        raise MergeError(
            f"run {config.run!r}: method {method.name!r} does not merge; train the run, or set "
            f"method.name to one that merges ({names})"
        )
    options = method.options(**config.method.options)
    check_tensors(trained)  # the merged model has the same tensors
    facts = meta_info(read_record(base_model)) | {
        "trained_sha256": describe_weights(trained)["sha256"]
    }
    merge_folders(base_model, trained, out, lambda initial, t: combine(initial, t, options))
    rounding = rounding_facts(base_model, out)
    time_s = time.monotonic() - started
    info = {
        "n_steps": 0,
        "log": [],
        "rounding": rounding,
        "time_s": time_s,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    atomic_write_json(
        out.parent / "train.json",
        {
            "run_info": run_info(config.model_dump(mode="json")),
            "train_info": info,
            "meta_info": facts,
        },
        checksum=True,
    )
    logger.info("%s with %s: %.1f s", method.name, trained.name, time_s)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff merge``."""
    parser.add_argument(
        "--config", required=True, help="resolved configuration of the run: JSON, or a JSON file"
    )
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--trained", type=Path, required=True, help="folder of the run to merge")
    parser.add_argument("--out", type=Path, required=True, help="folder for the final weights")


def main(args: argparse.Namespace) -> None:
    """Merge one run from its resolved configuration."""
    config = read_config(RunConfig, args.config)
    with run_main(f"merge {config.run}"):
        merge(config, args.base_model, args.trained, args.out)
