"""Measure what rounding to bfloat16 does to small updates: the numbers of docs/precision.md.

Standard SFT on a few medcalc examples, scored with the weights as trained in two bfloat16 parts, in
float32, and as shipped; beside it the same run trained in float32 throughout.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from timeit import Timer

import pandas as pd
import torch
from safetensors.torch import load_file

from common import MAX_LENGTH, MODEL, BenchmarkError, run_config
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.evaluation.evaluate import evaluate
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.stats.estimates import Estimate, paired_difference
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.study.runs import EvaluationConfig
from sft_tradeoff.study.spec import EvaluationSpec, TrainingSpec
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_text
from sft_tradeoff.system.processor import multiplies_bfloat16
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.rounding import rounding_facts
from sft_tradeoff.training.train import train

logger = logging.getLogger(__name__)
RATES = (1e-6, 1e-5)
# scored -> evaluation.dtype, suffix of the metric's name
SCORED = {
    "as trained, in two bfloat16 parts": ("bfloat16", ""),
    "as trained, in float32": ("float32", ""),
    "as shipped: weights rounded to bfloat16": ("bfloat16", "_shipped"),
}
Scores = dict[str, pd.DataFrame]  # dtype -> items


class Laboratory:
    """θ0, a little data, and a folder to work in."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.domain = domain_spec(
            name="medcalc",
            calculators=(5, 31, 68, 69),
            n_train=options.train,
            n_validation=0,
            n_test=options.test,
        )
        write_domain(self.domain, folder)
        for split in ("train", "test"):
            tokens = tokenize_file(
                load_tokenizer(options.model), folder / f"{split}.jsonl", MAX_LENGTH
            )
            tokens.save(folder / f"{split}.npz")

    def train(self, rate: float, precision: str) -> Path:
        """Train one run; return the folder of its weights."""
        size = self.options.batch_size
        training = TrainingSpec(
            epochs=1, batch_size=size, micro_batch_size=size, precision=precision
        )
        config = run_config(self.options.model, training)
        config = config.model_copy(update={"learning_rate": rate})
        out = self.folder / f"{precision}-{format_learning_rate(rate)}" / "model"
        out.parent.mkdir()
        train(config, self.options.model, self.folder / "train.npz", out)
        return out

    def score(self, model: Path, dtypes: tuple[str, ...] = ("bfloat16", "float32")) -> Scores:
        """Score a model in each dtype, and as shipped in bfloat16."""
        found = {}
        for dtype in dtypes:
            config = EvaluationConfig(
                run="precision",
                model=self.options.model.name,
                model_digest="",
                domains=(self.domain,),
                evaluation=EvaluationSpec(
                    tasks={"code_length_code": self.options.texts},
                    dtype=dtype,
                    as_shipped=dtype == "bfloat16",
                ),
            )
            with tempfile.TemporaryDirectory(dir=self.folder) as out:
                tests = [self.folder / "test.jsonl"], [self.folder / "test.npz"]
                evaluate(config, model, self.options.model, *tests, Path(out) / "eval.json")
                found[dtype] = pd.read_parquet(Path(out) / "items.parquet")
        return found


def change(after: pd.DataFrame, before: pd.DataFrame, metric: str) -> Estimate:
    """Change of a score on the same items."""
    one, other = (items[items["metric"] == metric] for items in (after, before))
    columns = one["value"], other["value"], one["size"]
    return paired_difference(*(column.to_numpy() for column in columns))


def shown(estimate: Estimate) -> str:
    """A difference with its standard error."""
    return f"{estimate.value:.5f} ± {estimate.stderr:.5f}"


def update(base: Path, trained: Path) -> torch.Tensor:
    """θ − θ0 as one vector, in float32."""
    start, end = (load_file(folder / "model.safetensors") for folder in (base, trained))
    return torch.cat([(end[name].float() - start[name].float()).flatten() for name in sorted(end)])


def gigaflops(dtype: torch.dtype, transposed: bool) -> float:
    """Speed of one product of 600 tokens with a layer of SmolLM2-135M, on one thread."""
    x = torch.ones(600, 576 if transposed else 1536, dtype=dtype)
    weight = torch.ones(1536, 576, dtype=dtype)
    torch.set_num_threads(1)
    timer = Timer(
        "x @ (w.T if transposed else w)", globals={"x": x, "w": weight, "transposed": transposed}
    )
    return 2 * 600 * 576 * 1536 / min(timer.repeat(5, 1)) / 1e9


def products() -> str:
    """Table of the speed of products in both types."""
    rows = [
        [
            name,
            *(f"{gigaflops(dtype, transposed):.1f}" for dtype in (torch.float32, torch.bfloat16)),
        ]
        for name, transposed in (("x Wᵀ", True), ("g W", False))
    ]
    return markdown_table(["product, GFLOP/s", "float32", "bfloat16"], rows)


def report(laboratory: Laboratory) -> str:
    """Train and score everything; return the tables in Markdown."""
    options = laboratory.options
    start = laboratory.score(options.model)
    tables, facts = [], []
    for rate in RATES:
        name = format_learning_rate(rate)
        run = laboratory.train(rate, "fp32_master")
        scores = laboratory.score(run)
        for scored, (dtype, suffix) in SCORED.items():
            changes = [
                change(scores[dtype], start[dtype], f"{metric}{suffix}")
                for metric in ("nll", "bits_per_byte")
            ]
            tables.append([name, scored, *map(shown, changes)])
        facts.append([name, *(f"{v:.4f}" for v in rounding_facts(options.model, run).values())])
        if rate == min(RATES):
            master, in_bfloat16 = run, scores
    exact = laboratory.train(min(RATES), "fp32")
    exact_scores = laboratory.score(exact, ("float32",))["float32"]
    one, other = (update(options.model, folder) for folder in (master, exact))
    compared = [
        ["change of NLL", shown(change(exact_scores, start["float32"], "nll"))],
        ["difference", shown(change(exact_scores, in_bfloat16["float32"], "nll"))],
        ["cosine of both updates", f"{float(one @ other / one.norm() / other.norm()):.4f}"],
        ["ratio of their norms", f"{float(other.norm() / one.norm()):.4f}"],
    ]
    heads = ["norm ratio", "projection", "changed share", "evaluated projection"]
    lowest = format_learning_rate(min(RATES))
    return "\n\n".join(
        [
            f"# Precision\n\n{options.train} examples in batches of {options.batch_size}, "
            f"{options.test} test answers, {options.texts} texts",
            markdown_table(["rate", "scored", "change of NLL", "change of bits per byte"], tables),
            markdown_table(["rate", *heads], facts),
            f"Trained in float32 throughout, at {lowest}, scored in float32:",
            markdown_table(["against fp32_master", ""], compared),
            products(),
        ]
    )


def main() -> None:
    """Measure, print the tables and write ``precision.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of θ0")
    parser.add_argument("--train", type=int, default=16, help="training examples")
    parser.add_argument("--batch-size", type=int, default=4, help="examples per step")
    parser.add_argument("--test", type=int, default=8, help="test answers")
    parser.add_argument("--texts", type=int, default=4, help="programs for code length")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write")
    options = parser.parse_args()
    with run_main("benchmark"), tempfile.TemporaryDirectory() as folder:
        if not multiplies_bfloat16():
            raise BenchmarkError(f"nothing to compare: computed in float32\n\n{products()}")
        text = report(Laboratory(Path(folder), options))
        atomic_write_text(options.out / "precision.md", text + "\n")
        print(text)


if __name__ == "__main__":
    main()
