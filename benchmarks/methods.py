"""Time one optimizer step of every method against plain SFT, on the same batches.

The methods alternate step by step: on a shared machine absolute times are noise, ratios are not.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from common import MODEL, run_config, training_data
from sft_tradeoff.models.folder import read_record
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.study.spec import MethodSpec, TrainingSpec
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_json, atomic_write_text
from sft_tradeoff.system.provenance import meta_info
from sft_tradeoff.training.loop import Trainer
from sft_tradeoff.training.reference import reference_nll

logger = logging.getLogger(__name__)

# label -> method, options, micro-batches per global batch, baseline. In groups, because every
# trainer holds a copy of the weights and an optimizer state.
Variant = tuple[str, dict[str, Any], int, str]
GROUPS: list[dict[str, Variant]] = [
    {"talr": ("talr", {}, 1, "sft"), "dft": ("dft", {}, 1, "sft"), "flow": ("flow", {}, 1, "sft")},
    {
        "stm": ("stm", {}, 1, "sft"),
        "eaft": ("eaft", {}, 1, "sft"),
        "psft": ("psft", {"refresh_every": 4}, 1, "sft"),
    },
    {
        "l2_reg": ("l2_reg", {}, 1, "sft"),
        "kl_reg": ("kl_reg", {}, 1, "sft"),
        "asft": ("asft", {}, 1, "sft"),
    },
    {
        "sft, batch split in 2": ("sft", {}, 2, "sft"),
        "talr, batch split in 2": ("talr", {}, 2, "sft, batch split in 2"),
        "talr tau=1, batch split in 2": ("talr", {"tau": 1.0}, 2, "sft, batch split in 2"),
    },
]
MEDCALC = {"name": "medcalc", "calculators": (5, 31, 68, 69)}  # with short explanations
BASELINE: Variant = ("sft", {}, 1, "sft")
TARGETS = {
    **dict.fromkeys(["talr", "dft", "flow", "stm", "eaft"], 1.05),
    "l2_reg": 1.1,
    **dict.fromkeys(["kl_reg", "asft", "psft"], 1.4),
}


def trainer_of(variant: Variant, model: Path, data: TokenizedData, args: Any) -> Trainer:
    """Build one method's trainer, ready for its first step."""
    method, options, n_micro, _ = variant
    training = TrainingSpec(batch_size=args.batch_size, micro_batch_size=args.batch_size // n_micro)
    config = run_config(model, training, MethodSpec(name=method, options=options))
    return Trainer(config, load_model(model, torch.float32), data, 0, args.reference)


def seconds(trainer: Trainer, step: int) -> float:
    """Duration of one optimizer step."""
    started = time.perf_counter()
    trainer.optimizer_step(step)
    return time.perf_counter() - started


def time_group(
    group: dict[str, Variant], model: Path, data: TokenizedData, args: Any
) -> dict[str, dict[str, Any]]:
    """Ratios of one group; in every round, all trainers take each step one after the other."""
    variants = {"sft": BASELINE, **group}
    trainers = {label: trainer_of(v, model, data, args) for label, v in variants.items()}
    times = np.zeros((args.rounds + 1, args.steps, len(variants)))
    for number in range(args.rounds + 1):
        for step in tqdm(range(args.steps), f"round {number}: {', '.join(group)}", disable=None):
            for column, trainer in enumerate(trainers.values()):
                times[number, step, column] = seconds(trainer, step)
    measured = dict(zip(variants, times[1:].T, strict=True))  # (steps, rounds); round 0 warms up
    return {label: summary(measured[label], measured[v[3]], v[3]) for label, v in group.items()}


def summary(own: np.ndarray, other: np.ndarray, baseline: str) -> dict[str, Any]:
    """Ratio of the sums over steps of each step's fastest round, and the range over rounds.

    Other processes can only make a step slower, so the fastest round is closest to the true time.
    """
    ratios = own.sum(0) / other.sum(0)  # (rounds,)
    return {
        "against": baseline,
        "ratio": own.min(1).sum() / other.min(1).sum(),
        "low": ratios.min(),
        "high": ratios.max(),
        "seconds_per_step": own.min(1).mean(),
    }


def markdown(result: dict[str, Any]) -> str:
    """Table of the ratios."""
    lines = [
        "| method | against | time ratio (fastest rounds; range over rounds) | target |",
        "|---|---|---|---|",
    ]
    for label, row in result["methods"].items():
        target = f"≤ {TARGETS[label]}" if label in TARGETS else ""
        interval = f"{row['ratio']:.3f} ({row['low']:.3f}–{row['high']:.3f})"
        lines.append(f"| {label} | {row['against']} | {interval} | {target} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Time the methods and write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of θ0")
    parser.add_argument("--steps", type=int, default=4, help="steps per round")
    parser.add_argument("--rounds", type=int, default=2, help="rounds after the warm-up round")
    parser.add_argument("--batch-size", type=int, default=4, help="sequences per step")
    parser.add_argument("--out", type=Path, default=Path("results/bench/methods.json"))
    args = parser.parse_args()
    with run_main("bench methods"):
        data = training_data(MEDCALC, args.batch_size * args.steps, args.model)
        args.reference = reference_nll(load_model(args.model, torch.bfloat16), data)
        methods: dict[str, Any] = {}
        settings = {name: getattr(args, name) for name in ("steps", "rounds", "batch_size")}
        facts = meta_info(read_record(args.model)) | {"n_threads": torch.get_num_threads()}
        for group in GROUPS:
            methods |= time_group(group, args.model, data, args)
            result = {"settings": settings, "methods": methods, "meta_info": facts}
            atomic_write_json(args.out, result)
            atomic_write_text(args.out.with_suffix(".md"), markdown(result))
        print(markdown(result))


if __name__ == "__main__":
    main()
