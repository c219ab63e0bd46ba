"""Measure the numerical noise of θ0's scores: the same weights and items, other arithmetic.

Which sequences share a batch, and the type in which the model computes, change every score a
little. Resampling items cannot show this. So θ0 is scored again in batches of half and of a quarter
of the tokens and, if the study computes in bfloat16, in float32. Only what needs no generation is
scored: code length, and the loss of right answers.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sft_tradeoff.analysis.noise_floor import largest, own_score, write_noise_floor
from sft_tradeoff.analysis.run_records import Key, read_items
from sft_tradeoff.evaluation.evaluate import add_input_arguments, explain_template, read_tests
from sft_tradeoff.evaluation.tasks import tasks_of
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.stats.estimates import ratio_estimate
from sft_tradeoff.study.runs import EvaluationConfig, read_config
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.suite.base import Row
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import quick_start, run_main
from sft_tradeoff.system.processor import type_here

logger = logging.getLogger(__name__)


def variants(spec: EvaluationSpec) -> dict[str, dict[str, Any]]:
    """Name -> settings that differ from the study's.

    In float32 only the batches differ: bfloat16 would add noise that such scores do not have.
    vLLM composes its batches itself.
    """
    found: dict[str, dict[str, Any]] = {}
    if spec.backend == "hf":
        sizes = (max(1, spec.batch_tokens // part) for part in (2, 4))
        found = {f"batch_tokens {size}": {"batch_tokens": size} for size in sizes}
    if type_here(spec.dtype) != "float32":
        found["float32"] = {"dtype": "float32"}
    return found


def rescored(
    config: EvaluationConfig, base_model: Path, data: Sequence[Path], tokens: Sequence[Path]
) -> Iterator[tuple[str, list[Row]]]:
    """Yield the name and the rows of every variant.

    Args:
        config: θ0's evaluation.
        base_model: θ0's folder.
        data: ``test.jsonl`` of each of the config's domains, in their order.
        tokens: ``test.npz`` of each domain, the same examples tokenized.
    """
    with quick_start():
        from sft_tradeoff.evaluation.load import load_lm
        from sft_tradeoff.evaluation.rescoring import rescore

        tokenizer = load_tokenizer(base_model)
        texts = {n: k for n, k in config.evaluation.tasks.items() if BENCHMARKS[n].kind == "text"}
        cheap = config.evaluation.model_copy(update={"tasks": texts})
        config = config.model_copy(update={"evaluation": cheap})
        with explain_template(config, base_model):
            tasks = tasks_of(config, tokenizer, read_tests(config, data, tokens))
    for name, change in variants(config.evaluation).items():
        started = time.monotonic()
        # Not kept in a variable: the next model would be loaded beside it.
        spec = cheap.model_copy(update=change)
        yield name, rescore(load_lm(base_model, spec, tokenizer), tasks)
        logger.info("%s: %.0f s", name, time.monotonic() - started)


def scores_of(rows: Sequence[Row]) -> dict[Key, float]:
    """Score of every (benchmark, metric): Σ value / Σ size."""
    parts: dict[Key, list[tuple[float, float]]] = {}
    for benchmark, _, metric, *value_and_size in rows:
        parts.setdefault((benchmark, metric), []).append((value_and_size[0], value_and_size[1]))
    return {key: ratio_estimate(*zip(*pairs, strict=True)).value for key, pairs in parts.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff noise-floor``."""
    add_input_arguments(parser)
    parser.add_argument("--items", type=Path, required=True, help="items.parquet of θ0's own run")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")


def main(args: argparse.Namespace) -> None:
    """Measure the noise floor of one model."""
    config = read_config(EvaluationConfig, args.config)
    with run_main(f"noise-floor {config.model}"):
        base = read_items(args.items)
        found: dict[Key, dict[str, float]] = {}
        for name, rows in rescored(config, args.base_model, args.data, args.tokens):
            for key, score in scores_of(rows).items():
                found.setdefault(key, {})[name] = score
        floors = {key: largest(own_score(base, key), scores) for key, scores in found.items()}
        write_noise_floor(args.out, floors)
