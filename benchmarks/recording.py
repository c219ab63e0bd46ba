"""Time what keeping single tokens adds to training and to an evaluation of the quick study.

With and without, step by step and evaluation by evaluation in one process: on a shared machine
absolute times are noise, ratios are not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from common import MODEL, run_config
from methods import seconds, summary
from sft_tradeoff.analysis.token_records import TEST_TOKENS, TRAINING_TOKENS, Facts
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.registry import get_domain
from sft_tradeoff.evaluation.evaluate import read_tests
from sft_tradeoff.evaluation.load import load_lm
from sft_tradeoff.evaluation.tasks import run_tasks, tasks_of
from sft_tradeoff.evaluation.token_scores import KeptTokens
from sft_tradeoff.models.folder import read_record
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.config import load_study
from sft_tradeoff.study.runs import EvaluationConfig, evaluation_configs
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_json, atomic_write_text
from sft_tradeoff.system.provenance import meta_info
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.loop import Trainer
from sft_tradeoff.training.token_log import TokenLog

STUDY = Path("config/studies/quick.yaml")
TARGETS = {"training": 1.03, "evaluation": 1.05}


def tokenize(folder: Path, config: EvaluationConfig, model: Path, max_length: int) -> None:
    """Build the domain's examples and tokenize both splits."""
    (domain,) = config.domains
    write_domain(domain, folder)
    for split in ("train", "test"):
        path = folder / f"{split}.jsonl"
        cluster = get_domain(domain.name).cluster
        data = tokenize_file(load_tokenizer(model), path, max_length, cluster)
        data.save(folder / f"{split}.npz")


def time_training(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Ratio of steps with a log of tokens to steps without, its file included."""
    study = load_study(STUDY)
    data = TokenizedData.load(folder / "train.npz")
    trainers = []
    for _ in range(2):
        config = run_config(args.model, study.training)
        trainers.append(Trainer(config, load_model(args.model, torch.float32), data, 0))
    log = TokenLog(data, study.training.epochs, study.training.batch_size)
    trainers[1].weighing.token_log = log
    times = np.zeros((args.rounds + 1, args.steps, 2))
    for number in range(args.rounds + 1):
        for step in tqdm(range(args.steps), f"training, round {number}", disable=None):
            for column, trainer in enumerate(trainers):
                times[number, step, column] = seconds(trainer, step)
    started = time.perf_counter()
    reference = np.zeros(len(data.input_ids), np.float32)
    facts = Facts("r", "m", {"d": "0"})
    log.write(folder / TRAINING_TOKENS, facts, load_tokenizer(args.model), reference)
    # The file of a whole run is written once.
    n_steps = len(data) * study.training.epochs / study.training.batch_size
    written = (time.perf_counter() - started) * n_steps / len(log.nll)
    plain, kept = times[1:, :, 0].T, times[1:, :, 1].T  # (steps, rounds)
    found = summary(kept + written / n_steps, plain, "without")
    return found | {"bytes": (folder / TRAINING_TOKENS).stat().st_size * n_steps / len(log.nll)}


def time_evaluation(
    folder: Path, config: EvaluationConfig, args: argparse.Namespace
) -> dict[str, Any]:
    """The same for whole evaluations of θ0."""
    tokenizer = load_tokenizer(args.model)
    tests = read_tests(config, [folder / "test.jsonl"], [folder / "test.npz"])
    tasks = tasks_of(config, tokenizer, tests)
    lm = load_lm(args.model, config.evaluation, tokenizer)
    (label,) = (task.label for task in tasks if task.gold)
    meta = {"base_model_sha256": "m", "test_sha256": {label: "0"}}
    times = np.zeros((args.rounds, 2))
    for number in tqdm(range(args.rounds), "evaluation", disable=None):
        for column in range(2):
            started = time.perf_counter()
            kept = KeptTokens(config, tests) if column else None
            run_tasks(lm, tasks, config.evaluation.chat_template, kept)
            if kept:
                kept.write(folder / TEST_TOKENS, meta, tokenizer)
            times[number, column] = time.perf_counter() - started
    found = summary(times[None, :, 1], times[None, :, 0], "without")
    return found | {"bytes": (folder / TEST_TOKENS).stat().st_size}


def markdown(result: dict[str, Any]) -> str:
    """Table of the ratios."""
    lines = [
        "| keeping tokens in | time ratio (fastest rounds; range) | target | file of a run |",
        "|---|---|---|---|",
    ]
    for name, row in result["work"].items():
        interval = f"{row['ratio']:.3f} ({row['low']:.3f}–{row['high']:.3f})"
        size = f"{row['bytes'] / 1000:.0f} kB"
        lines.append(f"| {name} | {interval} | ≤ {TARGETS[name]} | {size} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Time both and write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of θ0")
    parser.add_argument("--steps", type=int, default=4, help="training steps per round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, after one that warms up")
    parser.add_argument("--out", type=Path, default=Path("results/bench/recording.json"))
    args = parser.parse_args()
    with run_main("bench recording"), tempfile.TemporaryDirectory() as name:
        folder, study = Path(name), load_study(STUDY)
        config = next(iter(evaluation_configs(study).values()))
        config = config.model_copy(update={"record_tokens": True})
        tokenize(folder, config, args.model, study.training.max_length)
        work = {
            "training": time_training(folder, args),
            "evaluation": time_evaluation(folder, config, args),
        }
        facts = meta_info(read_record(args.model)) | {"n_threads": torch.get_num_threads()}
        result = {"work": work, "rounds": args.rounds, "steps": args.steps, "meta_info": facts}
        atomic_write_json(args.out, result)
        atomic_write_text(args.out.with_suffix(".md"), markdown(result))
        print(markdown(result))


if __name__ == "__main__":
    main()
