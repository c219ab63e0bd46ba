"""Fine-tune one model on one domain with one method, from a resolved configuration."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.analysis.token_records import TRAINING_TOKENS, Facts, remove_tokens
from sft_tradeoff.models.folder import read_record
from sft_tradeoff.models.load import load_model, save_model
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.system.console import UserError, quick_start
from sft_tradeoff.system.files import atomic_write_json, sha256_of
from sft_tradeoff.system.provenance import meta_info, run_info
from sft_tradeoff.training.resume import state_key

if TYPE_CHECKING:
    import torch

    from sft_tradeoff.study.spec import TrainingSpec
    from sft_tradeoff.training.epochs import Selection
    from sft_tradeoff.training.loop import Trainer
    from sft_tradeoff.training.token_log import TokenLog


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
    selection: Selection | None = None,
) -> None:
    """Train one run and write ``out/`` (weights) and ``out.parent/train.json``.

    Args:
        config: The resolved run.
        base_model: Folder of θ0.
        data_path: Tokenized training split (``.npz``).
        out: Folder for the final weights.
        state_folder: Folder for resume points; if None, the run cannot be resumed.
        reference_path: θ0's per-token losses, if the method needs them.
        selection: Chooses among the weights at the ends of epochs; None keeps the last.

    Raises:
        TrainingDiverged: If the loss is not finite; nothing is written.
        ModelError: If the weights do not load as they were saved; nothing is written.
        UserError: If the number of running processes is not ``training.processes``.
    """
    trainer = _prepared(config, base_model, data_path, reference_path)
    import torch  # quick only by now

    from sft_tradeoff.training.rounding import rounding_facts

    facts = meta_info(read_record(base_model)) | {
        "data_sha256": sha256_of(data_path),
        "n_threads": torch.get_num_threads(),
        "n_processes": trainer.accelerator.num_processes,
        **(selection.facts if selection else {}),
    }
    key = state_key(config=config.model_dump(mode="json"), facts=facts)
    state = trainer.state_file(state_folder, key) if state_folder else None
    folder = state_folder / f"{key}.epochs" if state_folder else out.with_name(f".{out.name}")
    if selection:
        trainer.selection = selection
        selection.begin(trainer, partial(_write_weights, trainer, base_model), folder)
    if config.record_tokens:
        trainer.weighing.token_log = _token_log(trainer)
    trainer.run(state)
    weights = {} if selection else trainer.final_weights()
    trainer.accelerator.end_training()  # only the first rank has something left to do
    if trainer.accelerator.is_main_process:
        chosen = selection.finish(out) if selection else {}
        if not selection:
            _save(trainer, weights, base_model, out)
        info = trainer.info() | chosen | {"rounding": rounding_facts(base_model, out)}
        if trainer.weighing.token_log:
            _write_tokens(trainer, trainer.weighing.token_log, base_model, out.parent, facts)
        else:
            remove_tokens(out.parent / TRAINING_TOKENS)
        _report(out.parent / "train.json", config, info, facts)
        shutil.rmtree(folder, ignore_errors=True)
        if state:
            state.clear()


def _prepared(
    config: RunConfig, base_model: Path, data_path: Path, reference_path: Path | None
) -> Trainer:
    """Check and load what a run needs."""
    with quick_start():
        import torch

        from sft_tradeoff.training.loop import Trainer
        from sft_tradeoff.training.master_weights import training_here
        from sft_tradeoff.training.memory_limit import check_memory
        from sft_tradeoff.training.reference import load_reference_nll

        check_processes(config.training)
        make_deterministic(config.seed)
        data = TokenizedData.load(data_path)
        _refuse_longer_than_the_window(data, base_model)
        n_shards = config.training.processes if config.training.sharding == "fsdp" else 1
        here = config.model_copy(update={"training": training_here(config.training)})
        check_memory(base_model, here, int(data.lengths.max()), n_shards)
        known, kind = None, config.training.compute_type
        if reference_path is not None:
            known = load_reference_nll(reference_path, data_path, base_model, kind)
        model = load_model(base_model, torch.float32)
        return Trainer(config, model, data, load_tokenizer(base_model).pad_token_id, known)


def _token_log(trainer: Trainer) -> TokenLog:
    from sft_tradeoff.training.token_log import TokenLog

    if trainer.known.reference_nll is None:
        raise UserError(
            f"run {trainer.config.run!r}: record_tokens needs θ0's losses of the same tokens; add "
            "--reference"
        )
    return TokenLog(trainer.data, trainer.training.epochs, trainer.training.batch_size)


def _write_tokens(
    trainer: Trainer, log: TokenLog, base_model: Path, folder: Path, facts: dict[str, Any]
) -> None:
    """Write the losses of single tokens beside ``train.json``, whose hashes they share."""
    assert trainer.known.reference_nll is not None
    of_data = {str(trainer.config.domain.label): facts["data_sha256"]}
    of = Facts(trainer.config.run, facts["base_model_sha256"], of_data)
    reference_nll = trainer.known.reference_nll.numpy()
    log.write(folder / TRAINING_TOKENS, of, load_tokenizer(base_model), reference_nll)


def _write_weights(trainer: Trainer, base_model: Path, out: Path) -> None:
    """Write the current weights of a run that goes on; all ranks must call it."""
    weights = trainer.weights.whole()
    if trainer.accelerator.is_main_process:
        _save(trainer, weights, base_model, out)


def _save(trainer: Trainer, weights: dict[str, torch.Tensor], base_model: Path, out: Path) -> None:
    """Write whole trained weights as a model folder, adapters merged into θ0."""
    from sft_tradeoff.models.adapters import merged_weights

    model = trainer.model
    if trainer.method.adapter:
        options = trainer.method.adapter(trainer.options)
        model, weights = merged_weights(base_model, options, weights)
    save_model(model, weights, base_model, out)


def _refuse_longer_than_the_window(data: TokenizedData, base_model: Path) -> None:
    """Refuse examples that the model cannot read; learned positions would have no row for them."""
    from sft_tradeoff.models.supported import load_config, window

    longest, most = int(data.lengths.max()), window(load_config(base_model))
    if most is not None and longest > most:
        raise UserError(
            f"training.max_length: an example has {longest} tokens, and the model's window has "
            f"{most}; lower training.max_length to {most}"
        )


def _report(path: Path, config: RunConfig, info: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write ``train.json``."""
    report = {
        "run_info": run_info(config.model_dump(mode="json")),
        "train_info": info,
        "meta_info": facts,
    }
    atomic_write_json(path, report, checksum=True)
