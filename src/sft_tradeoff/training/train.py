"""Fine-tune one model on one domain with one method, from a resolved configuration."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.models.folder import read_record
from sft_tradeoff.models.load import load_model, save_model
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.runs import RunConfig, read_config
from sft_tradeoff.system.console import UserError, quick_start, run_main
from sft_tradeoff.system.files import atomic_write_json, sha256_of
from sft_tradeoff.system.provenance import meta_info, run_info
from sft_tradeoff.training.resume import exclusive, state_key

if TYPE_CHECKING:
    from sft_tradeoff.study.spec import TrainingSpec
    from sft_tradeoff.training.loop import Trainer


def make_deterministic(seed: int) -> None:
    """Make the same seed give the same weights, bit for bit on a CPU."""
    import torch

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.backends.cuda.enable_cudnn_sdp(False)  # its backward pass is not deterministic
    # Saves time: no computation here reads memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def check_processes(training: TrainingSpec) -> None:
    """Compare the configured number of processes with the running one, before anything is loaded.

    Raises:
        UserError: If they differ: a sharded run would not fit, or GPUs would repeat each other's
            work.
    """
    wanted, running = training.processes, int(os.environ.get("WORLD_SIZE", "1"))
    if running != wanted:
        raise UserError(
            f"training.processes is {wanted}, but {running} run; start with 'torchrun --standalone "
            f"--nproc-per-node {wanted} -m sft_tradeoff train ...', or change it"
        )


def train(
    config: RunConfig,
    base_model: Path,
    data_path: Path,
    out: Path,
    state_folder: Path | None = None,
    reference_path: Path | None = None,
) -> None:
    """Train one run and write ``out/`` (weights) and ``out.parent/train.json``.

    Args:
        config: The resolved run.
        base_model: Folder of θ0.
        data_path: Tokenized training split (``.npz``).
        out: Folder for the final weights.
        state_folder: Folder for resume points; if None, the run cannot be resumed.
        reference_path: θ0's per-token losses, if the method needs them.

    Raises:
        TrainingDiverged: If the loss is not finite; nothing is written.
        ModelError: If the weights do not load as they were saved; nothing is written.
        UserError: If the number of running processes is not ``training.processes``.
    """
    with quick_start():
        import torch

        from sft_tradeoff.models.adapters import merged_weights
        from sft_tradeoff.training.loop import Trainer
        from sft_tradeoff.training.memory_limit import check_memory
        from sft_tradeoff.training.reference import load_reference_nll

        check_processes(config.training)
        make_deterministic(config.seed)
        data = TokenizedData.load(data_path)
        _refuse_longer_than_the_window(data, base_model)
        n_shards = config.training.processes if config.training.sharding == "fsdp" else 1
        check_memory(base_model, config, int(data.lengths.max()), n_shards)
        known, kind = None, config.training.compute_type
        if reference_path is not None:
            known = load_reference_nll(reference_path, data_path, base_model, kind)
        model = load_model(base_model, torch.float32)
        trainer = Trainer(config, model, data, load_tokenizer(base_model).pad_token_id, known)
    facts = meta_info(read_record(base_model)) | {
        "data_sha256": sha256_of(data_path),
        "n_threads": torch.get_num_threads(),
        "n_processes": trainer.accelerator.num_processes,
    }
    key = state_key(config=config.model_dump(mode="json"), facts=facts)
    state = trainer.state_file(state_folder, key) if state_folder else None
    trainer.run(state)
    weights = trainer.final_weights()
    trainer.accelerator.end_training()  # only the first rank has something left to do
    if trainer.accelerator.is_main_process:
        if trainer.method.adapter:
            options = trainer.method.adapter(trainer.options)
            model, weights = merged_weights(base_model, options, weights)
        save_model(model, weights, base_model, out)
        _report(config, trainer, facts, base_model, out)
        if state:
            state.clear()


def _refuse_longer_than_the_window(data: TokenizedData, base_model: Path) -> None:
    """Refuse examples that the model cannot read; learned positions would have no row for them."""
    from sft_tradeoff.models.supported import load_config, window

    longest, most = int(data.lengths.max()), window(load_config(base_model))
    if most is not None and longest > most:
        raise UserError(
            f"training.max_length: an example has {longest} tokens, and the model's window has "
            f"{most}; lower training.max_length to {most}"
        )


def _report(
    config: RunConfig, trainer: Trainer, facts: dict[str, Any], base_model: Path, out: Path
) -> None:
    """Write ``train.json`` beside the folder of the final weights."""
    from sft_tradeoff.training.rounding import rounding_facts

    truncated = trainer.data.truncated
    more = {
        "n_examples": len(truncated),
        "n_truncated": int(truncated.sum()),
        "rounding": rounding_facts(base_model, out),
    }
    report = {
        "run_info": run_info(config.model_dump(mode="json")),
        "train_info": trainer.info() | more,
        "meta_info": facts,
    }
    atomic_write_json(out.parent / "train.json", report, checksum=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff train``."""
    parser.add_argument(
        "--config", required=True, help="resolved configuration of the run: JSON, or a JSON file"
    )
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--data", type=Path, required=True, help="tokenized training split, .npz")
    parser.add_argument("--reference", type=Path, help="θ0's per-token losses, .parquet")
    parser.add_argument("--state", type=Path, help="folder for resume points")
    parser.add_argument("--out", type=Path, required=True, help="folder for the final weights")


def main(args: argparse.Namespace) -> None:
    """Train one run from its resolved configuration."""
    config = read_config(RunConfig, args.config)
    with run_main(f"train {config.run}"), exclusive(args.state):
        if os.environ.get("RANK", "0") != "0":
            logging.disable(logging.INFO)  # all ranks would log the same
        train(config, args.base_model, args.data, args.out, args.state, args.reference)
