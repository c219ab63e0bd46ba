"""Train several runs in this process group and save what came out; started by torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.training.loop import Trainer


class Crash(Exception):
    pass


def train_through_crashes(config, model, data, reference, folder, crash_at=()):
    """Train, interrupted before each of some steps and resumed by a new trainer each time."""
    for last in (*crash_at, None):
        torch.manual_seed(0)
        trainer = Trainer(config, load_model(model, torch.float32), data, 0, reference)
        watch(trainer)
        step = trainer.optimizer_step

        def interrupted(number, last=last, step=step):
            if number == last:
                raise Crash
            return step(number)

        with mock.patch.object(trainer, "optimizer_step", interrupted):
            try:
                trainer.run(trainer.state_file(folder, "key") if crash_at else None)
            except Crash:
                assert last is not None
    return trainer


def watch(trainer):
    """Record the weight that the head computes with, whenever it runs."""
    embeddings = trainer.model.get_input_embeddings()
    trainer.seen = set()

    def look(head, _):
        whole = tuple(head.weight.shape) == tuple(embeddings.weight.shape) == (259, 64)
        trainer.seen.add((str(head.weight.dtype), head.weight is embeddings.weight, whole))

    trainer.model.get_output_embeddings().register_forward_pre_hook(look)


def launch(folder, model, data, reference, entries):
    """Train all entries (label -> configuration, steps to crash at) in two processes.

    Returns:
        Label -> what :func:`main` saved. One launch for many runs, because starting costs seconds.
    """
    data.save(folder / "train.npz")
    np.save(folder / "reference.npy", reference)
    content = {k: (config.model_dump(mode="json"), steps) for k, (config, steps) in entries.items()}
    (folder / "entries.json").write_text(json.dumps(content))
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run_launcher(
        [sys.executable, *start, "-m", "tests.unit.training.train_in_processes", folder, model]
    )
    return {label: torch.load(folder / f"{label}.pt") for label in entries}


def run_launcher(command, timeout=300, **keywords):
    """Run a launcher to its end; deadlocked ranks would wait for half an hour."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    with subprocess.Popen(command, env=environment, **keywords) as process:
        try:
            assert process.wait(timeout) == 0
        finally:
            process.terminate()  # unlike kill, this ends the ranks too


def main(folder: Path, model: Path) -> None:
    data = TokenizedData.load(folder / "train.npz")
    reference = np.load(folder / "reference.npy")
    for label, (config, crash_at) in json.loads((folder / "entries.json").read_text()).items():
        run = RunConfig.model_validate(config)
        trainer = train_through_crashes(run, model, data, reference, folder / label, crash_at)
        assert trainer.accelerator.num_processes == run.training.processes == 2
        weights = trainer.weights.whole()
        assert bool(weights) == trainer.accelerator.is_main_process or not trainer.sharded
        result = {
            "masters": weights,
            "log": trainer.log,
            "seen": trainer.seen,
            "dtypes": {str(master.dtype) for master in trainer.weights.masters},
            "n_held": sum(master.numel() for master in trainer.weights.masters),
        }
        if trainer.accelerator.is_main_process:
            torch.save(result, folder / f"{label}.pt")


if __name__ == "__main__":
    # Few labels per chunk: ranks then differ in the number of chunks of the head.
    few = mock.patch("sft_tradeoff.training.token_loss.CHUNK", 16)
    fast = mock.patch("sft_tradeoff.system.processor.multiplies_bfloat16", lambda: True)
    with few, fast:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
