"""A small domain and runs on it that keep the best epoch, for tests of the selection."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.selection.best_domain import BestOnDomain
from sft_tradeoff.selection.train import selection_of
from sft_tradeoff.selection.validation import Validation
from sft_tradeoff.study.runs import RunConfig, ValidationConfig
from sft_tradeoff.study.spec import EvaluationSpec, MethodSpec, TrainingSpec
from sft_tradeoff.system import processor
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training import train as training
from sft_tradeoff.training.loop import Trainer

DOMAIN = domain_spec(
    name="esci", variant="label_only", n_train=12, n_validation=4, n_test=1, max_new_tokens=20
)
EVALUATION = EvaluationSpec(max_length=1024)
PER_EPOCH = 3  # steps


class Material(NamedTuple):
    """Where everything is."""

    folder: Path
    base_model: Path

    def file(self, split: str) -> Path:
        return self.folder / f"{split}.jsonl"

    def tokens(self, split: str) -> Path:
        return self.folder / f"{split}.npz"


def make_material(folder: Path, base_model: Path) -> Material:
    """Write the examples and their tokens."""
    write_domain(DOMAIN, folder)
    material = Material(folder, base_model)
    for split in ("train", "validation"):
        tokens = tokenize_file(load_tokenizer(base_model), material.file(split), 1024)
        tokens.save(material.tokens(split))
    return material


def run_config(
    method: str = "sft", rate: float = 5e-2, select: str = "best_domain", **training: Any
) -> RunConfig:
    """A run whose learning rate is so large that the second epoch is worse than the first."""
    spec = {
        **{"epochs": 2, "batch_size": 4, "micro_batch_size": 4, "max_length": 1024},
        **{"schedule": "constant", "warmup_ratio": 0, "checkpoint_every_s": 0},
        **training,
    }
    return RunConfig(
        run="test",
        model="m",
        model_digest="",
        domain=DOMAIN,
        method=MethodSpec(name=method),
        learning_rate=rate,
        seed=0,
        training=TrainingSpec(select=select, **spec),
        validation=ValidationConfig(evaluation=EVALUATION) if select != "last" else None,
    )


def train(config: RunConfig, material: Material, out: Path, state: Path | None = None) -> Any:
    """Train a run; return its ``train.json``."""
    files = material.file("validation"), material.tokens("validation")
    selection = selection_of(config, material.base_model, *files)
    training.train(
        config, material.base_model, material.tokens("train"), out / "model", state, None, selection
    )
    return json.loads((out / "train.json").read_text())


def train_killed(config: RunConfig, material: Material, out: Path, moment: str) -> None:
    """Train, writing down every step and every scoring, and kill this process at a moment.

    Args:
        config: The run.
        material: Its files.
        out: Gets ``model`` and ``state``, and ``done`` with one line per step and scoring.
        moment: The line before which it is killed: ``step 4``; ``score 3``; ``scored 3`` (the
            scores are not kept yet); ``report`` (the weights have their final name).
    """

    def reached(line: str) -> None:
        with open(out / "done", "a") as file:
            file.write(f"{line}\n")
        if line == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def spy(owner: Any, name: str, before: Any = None, after: Any = None) -> Any:
        original = getattr(owner, name)

        def spied(self: Any, *arguments: Any) -> Any:
            if before:
                reached(before(*arguments))
            found = original(self, *arguments)
            if after:
                reached(after(*arguments))
            return found

        return mock.patch.object(owner, name, spied)

    out.mkdir(exist_ok=True)
    with (
        # As the test's own process has it (see conftest): the trainings are compared bit by bit.
        mock.patch.object(processor, "multiplies_bfloat16", lambda: True),
        spy(Trainer, "optimizer_step", before=lambda step: f"step {step}"),
        spy(
            Validation,
            "score",
            before=lambda folder: f"score {folder.name}",
            after=lambda folder: f"scored {folder.name}",
        ),
        spy(BestOnDomain, "finish", after=lambda _: "report"),
    ):
        train(config, material, out, out / "state")
