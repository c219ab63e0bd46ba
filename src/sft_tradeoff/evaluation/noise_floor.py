"""Measure the numerical noise of θ0's scores: the same weights and items, other arithmetic.

Which sequences share a batch, and the type in which the model computes, change every score a
little. Resampling items cannot show this. So θ0 is scored again in batches of half and of a quarter
of the tokens and, if the study computes in bfloat16, in float32. Only what needs no generation is
scored: code length, and the loss of right answers; of their single tokens, too, if the study keeps
them.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_tradeoff.analysis.noise_floor import (
    TOKEN_CHANGE,
    largest,
    own_score,
    write_noise_floor,
)
from sft_tradeoff.analysis.run_records import Key, read_items
from sft_tradeoff.analysis.token_records import read_test_tokens
from sft_tradeoff.evaluation.evaluate import add_input_arguments, explain_template, read_tests
from sft_tradeoff.evaluation.tasks import tasks_of
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.stats.estimates import ratio_estimate
from sft_tradeoff.study.runs import EvaluationConfig, read_config
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.suite.base import Row
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError, quick_start, run_main
from sft_tradeoff.system.processor import type_here

if TYPE_CHECKING:
    from sft_tradeoff.evaluation.tasks import Task
    from sft_tradeoff.evaluation.token_scores import TokenScores

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
) -> Iterator[tuple[str, list[Row], dict[str, np.ndarray]]]:
    """Yield every variant's name, its rows, and the tokens' NLL of each domain's right answers.

    The last is empty unless the study keeps tokens: [N] nats, in the order of the examples.

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
        spec = cheap.model_copy(update=change)
        tokens_nll: dict[str, np.ndarray] = {}

        def keep(task: Task, scores: list[TokenScores], into: Any = tokens_nll) -> None:
            into[task.label] = -np.concatenate([found.log_likelihood for found in scores])

        lm = load_lm(base_model, spec, tokenizer)
        rows = rescore(lm, tasks, keep if config.record_tokens else None)
        del lm
        yield name, rows, tokens_nll
        logger.info("%s: %.0f s", name, time.monotonic() - started)


def scores_of(rows: Sequence[Row]) -> dict[Key, float]:
    """Score of every (benchmark, metric): Σ value / Σ size."""
    parts: dict[Key, list[tuple[float, float]]] = {}
    for benchmark, _, metric, *value_and_size in rows:
        parts.setdefault((benchmark, metric), []).append((value_and_size[0], value_and_size[1]))
    return {key: ratio_estimate(*zip(*pairs, strict=True)).value for key, pairs in parts.items()}


def token_changes(run: Path, nll: Mapping[str, np.ndarray]) -> dict[Key, float]:
    """Mean |Δ log p| of each domain's tokens between θ0's evaluation and a variant, in nats.

    Args:
        run: Folder of θ0's evaluation.
        nll: The variant's, as :func:`rescored` yields them.
    """
    if not nll:
        return {}
    if (own := read_test_tokens(run)) is None:
        raise UserError(
            f"{run}: its evaluation kept no tokens; delete eval.json there and run the same "
            "command again"
        )
    frame = own.frame
    of_domain = {d: frame["nll"][frame["domain"].astype(str) == d].to_numpy() for d in nll}
    return {(d, TOKEN_CHANGE): float(np.abs(nll[d] - of_domain[d]).mean()) for d in nll}


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
        for name, rows, nll in rescored(config, args.base_model, args.data, args.tokens):
            changed = token_changes(args.items.parent, nll)
            for key, score in (scores_of(rows) | changed).items():
                found.setdefault(key, {})[name] = score
        floors = {key: largest(own_score(base, key), scores) for key, scores in found.items()}
        write_noise_floor(args.out, floors)
