"""Train with one contender for some steps, in a separate process: times, losses, peak memory.

All contenders get the same token ids, batches, order, learning rate, optimizer settings, clipping
and number of threads, and all average the loss over supervised tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from common import BenchmarkError, run_config
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.spec import TrainingSpec
from sft_tradeoff.system.console import quick_start
from sft_tradeoff.system.files import atomic_write_json
from sft_tradeoff.training.batching import batch_schedule

# name -> kind, and its settings other than the defaults
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "trl": ("trl", {}),
    # Fused AdamW and bfloat16 autocast are its defaults. Bfloat16 weights and padding-free batches
    # gave no further gain, torch.compile needed minutes before the third step, fused kernels need a
    # GPU, and on a CPU there is no option to leave prompts out of the head.
    "trl_tuned": ("trl", {"gradient_checkpointing": False}),
    "trainer": ("trainer", {"bf16": True}),
    "ours": ("ours", {"precision": "fp32_master"}),
    # Like TRL out of the box, to save memory.
    "ours_checkpointed": ("ours", {"precision": "fp32_master", "gradient_checkpointing": True}),
    "trl_fp32": ("trl", {"gradient_checkpointing": False, "bf16": False}),
    "trainer_fp32": ("trainer", {}),
    "ours_fp32": ("ours", {"precision": "fp32"}),
}
DEFAULT = ("trl", "trl_tuned", "trainer", "ours", "ours_checkpointed")
FLOAT32 = ("trl_fp32", "trainer_fp32", "ours_fp32")
PRODUCTS = "matrix products"


class Clock:
    """Records when the first step began and when each step ended, in seconds since the epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def tick(self) -> None:
        """Record the time: at the start of the first step, then at the end of every step."""
        self.times.append(time.time())


def training_spec(batch_size: int, **settings: Any) -> TrainingSpec:
    """Settings of all contenders: a constant learning rate, otherwise our defaults."""
    return TrainingSpec(
        batch_size=batch_size,
        micro_batch_size=batch_size,
        schedule="constant",
        warmup_ratio=0.0,
        **settings,
    )


def steps_of(data: TokenizedData, batch_size: int) -> list[np.ndarray]:
    """Rows of every step of one epoch, in our order."""
    return batch_schedule(data.lengths, batch_size, epochs=1, seed=0)


def train_ours(options: argparse.Namespace, clock: Clock, settings: dict[str, Any]) -> Any:
    """Train with this project, set up as in its train stage; return losses and settings."""
    config = run_config(options.model, training_spec(options.batch_size, **settings))
    data = TokenizedData.load(options.data)
    with quick_start():
        import torch

        from sft_tradeoff.training.loop import Trainer
        from sft_tradeoff.training.train import make_deterministic

        make_deterministic(0)
        pad_id = load_tokenizer(options.model).pad_token_id
        trainer = Trainer(config, load_model(options.model, torch.float32), data, pad_id)
    losses = []
    clock.tick()
    for step in options.steps:
        losses.append(trainer.optimizer_step(step)["loss"])
        clock.tick()
    return losses, config.training.model_dump(mode="json")


def arguments(options: argparse.Namespace, output_dir: str) -> dict[str, Any]:
    """Options that make the training of Hugging Face's trainers equal to ours."""
    config = run_config(options.model, training_spec(options.batch_size))
    training = config.training
    return {
        "output_dir": output_dir,
        "use_cpu": True,
        "per_device_train_batch_size": training.batch_size,
        "max_steps": len(options.steps),
        "train_sampling_strategy": "sequential",  # rows are in the order of the steps
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": training.schedule,
        "weight_decay": training.weight_decay,
        "adam_beta1": training.betas[0],
        "adam_beta2": training.betas[1],
        "adam_epsilon": training.epsilon,
        "max_grad_norm": training.max_grad_norm,
        "seed": config.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def ordered_examples(options: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token ids and response masks of the steps' examples, one step after the other."""
    data = TokenizedData.load(options.data)
    schedule = steps_of(data, options.batch_size)
    return [data.example(int(row)) for step in options.steps for row in schedule[step]]


def train_trl(options: argparse.Namespace, clock: Clock, settings: dict[str, Any]) -> Any:
    """Train with TRL's SFTTrainer, which loads model and tokenizer by itself."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    examples = ordered_examples(options)
    rows = {
        "input_ids": [ids.tolist() for ids, _ in examples],
        "completion_mask": [mask.astype(int).tolist() for _, mask in examples],
    }
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=str(options.model),
            args=SFTConfig(completion_only_loss=True, **arguments(options, folder), **settings),
            train_dataset=Dataset.from_dict(rows),
        )
        return run_trainer(trainer, clock)


def train_trainer(options: argparse.Namespace, clock: Clock, settings: dict[str, Any]) -> Any:
    """Train with transformers' Trainer; labels of prompts are -100.

    As with ours there is no attention mask: padding is on the right, where causal attention cannot
    see it.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from transformers import Trainer, TrainingArguments

    rows = [
        {
            "input_ids": torch.from_numpy(ids.astype(np.int64)),
            "labels": torch.from_numpy(np.where(mask, ids, -100).astype(np.int64)),
        }
        for ids, mask in ordered_examples(options)
    ]
    pad_id = load_tokenizer(options.model).pad_token_id

    def collate(batch: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        fill = {"input_ids": pad_id, "labels": -100}
        return {
            key: pad_sequence([row[key] for row in batch], batch_first=True, padding_value=value)
            for key, value in fill.items()
        }

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=load_model(options.model, torch.float32),
            args=TrainingArguments(**arguments(options, folder), **settings),
            train_dataset=rows,
            data_collator=collate,
        )
        return run_trainer(trainer, clock)


def run_trainer(trainer: Any, clock: Clock) -> Any:
    """Train with one of Hugging Face's trainers; return losses and the settings in effect."""
    from transformers import TrainerCallback

    class Ticks(TrainerCallback):
        """Ticks at the same points as ours."""

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            clock.tick()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    trainer.add_callback(Ticks())
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    names = ("bf16", "gradient_checkpointing", "lr_scheduler_type", "loss_type", "packing")
    found = {name: getattr(trainer.args, name, None) for name in names}
    parameter = next(trainer.model.parameters())
    optimizer = {k: v for k, v in trainer.optimizer.param_groups[0].items() if k != "params"}
    return losses, {
        "weights": str(parameter.dtype),
        "attention": trainer.model.config._attn_implementation,
        **found,
        "optimizer": f"{trainer.args.optim}: {optimizer}",
    }


TRAIN = {"ours": train_ours, "trl": train_trl, "trainer": train_trainer}


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Train with one contender and return the measurements."""
    from sft_tradeoff.system.provenance import peak_memory_bytes

    kind, settings = CONTENDERS[options.contender]
    clock = Clock()
    losses, found = TRAIN[kind](options, clock, settings)
    if not len(losses) == len(clock.times) - 1 == len(options.steps):
        raise BenchmarkError(
            f"{options.contender}: {len(options.steps)} steps, but {len(losses)} losses and "
            f"{len(clock.times) - 1} ends of steps; its callbacks have changed: adapt this script"
        )
    return {
        "first_step_begins_s": clock.times[0] - options.started,
        "first_step_ends_s": clock.times[1] - options.started,
        "step_seconds": np.diff(clock.times).tolist(),
        "losses": losses,
        "peak_memory_bytes": peak_memory_bytes(),
        "settings": found,
    }


def time_products(options: argparse.Namespace) -> dict[str, Any]:
    """Time the matrix products of every step instead of training."""
    from matrix_products import bound_seconds, useful_flops

    sizes = step_sizes(options)
    steps = [
        bound_seconds(options.model, *step)
        for step in zip(sizes["n_tokens"], sizes["n_supervised"], strict=True)
    ]
    data = TokenizedData.load(options.data)
    schedule = steps_of(data, options.batch_size)
    lengths = [data.lengths[schedule[step]] for step in options.steps]
    return {
        "bound_seconds": [sum(step.values()) for step in steps],
        "products": steps,
        "useful_flops": useful_flops(options.model, lengths, sizes["n_supervised"]),
    }


def step_sizes(options: argparse.Namespace) -> dict[str, list[int]]:
    """Real tokens and supervised tokens of every step."""
    data = TokenizedData.load(options.data)
    steps = [steps_of(data, options.batch_size)[step] for step in options.steps]
    masks = [[data.example(int(row))[1] for row in rows] for rows in steps]
    return {
        "n_tokens": [sum(len(mask) for mask in step) for step in masks],
        "n_supervised": [sum(int(mask.sum()) for mask in step) for step in masks],
    }


def measure(contender: str, data: Path, steps: list[int], options: Any) -> dict[str, Any]:
    """Run one contender in a fresh process and return its record.

    The caller must use less memory than any contender, because a child's peak starts at its
    parent's.

    Args:
        contender: Of :data:`CONTENDERS`, or :data:`PRODUCTS`.
        data: Tokenized examples, ``.npz``.
        steps: Indices of the epoch's steps to take.
        options: With ``model``, ``batch_size`` and ``threads``.

    Raises:
        BenchmarkError: If it fails, with the end of its log.
    """
    environment = {
        "OMP_NUM_THREADS": str(options.threads),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "record.json"
        flags = {
            "contender": contender,
            "model": options.model,
            "data": data,
            "out": out,
            "batch-size": options.batch_size,
            "threads": options.threads,
            "steps": ",".join(map(str, steps)),
            "started": repr(time.time()),
        }
        command = [sys.executable, __file__, *(f"--{k}={v}" for k, v in flags.items())]
        done = subprocess.run(
            command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode:
            log = done.stdout.decode(errors="replace")
            raise BenchmarkError(f"{contender} failed ({done.returncode}):\n{log[-3000:]}")
        return json.loads(out.read_text())


def main() -> None:
    """Run one contender and write its record; called by :func:`measure`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contender", required=True, choices=[*CONTENDERS, PRODUCTS])
    parser.add_argument("--model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--data", type=Path, required=True, help="tokenized examples, .npz")
    parser.add_argument("--batch-size", type=int, required=True, help="sequences per step")
    parser.add_argument("--steps", required=True, help="indices of steps, comma-separated")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    parser.add_argument("--started", type=float, required=True, help="time.time() of the caller")
    parser.add_argument("--out", type=Path, required=True, help="record to write, JSON")
    options = parser.parse_args()
    options.steps = [int(step) for step in options.steps.split(",")]
    import torch

    torch.set_num_threads(options.threads)
    record = (time_products if options.contender == PRODUCTS else train)(options)
    atomic_write_json(options.out, record | step_sizes(options))


if __name__ == "__main__":
    main()
