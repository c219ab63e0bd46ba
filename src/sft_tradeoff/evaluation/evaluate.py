"""Evaluate one model on the general suite and its domains with lm-eval, in one process.

Every score is a ratio Σ value / Σ size over items (accuracy: size 1; bits per byte: size in bytes).
All items are kept, because paired tests against θ0 need them.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from sft_tradeoff.analysis.answers import ANSWERS
from sft_tradeoff.analysis.token_records import TEST_TOKENS, remove_tokens
from sft_tradeoff.chat import ChatTemplateError
from sft_tradeoff.evaluation.answers import Answer, write_answers
from sft_tradeoff.evaluation.item_table import item_table
from sft_tradeoff.evaluation.tasks import read_records, run_tasks, tasks_of
from sft_tradeoff.models.folder import read_record
from sft_tradeoff.models.tokenized import TokenizationError, TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.models.tokenizer_template import template_fix, template_place
from sft_tradeoff.stats.estimates import ratio_estimate
from sft_tradeoff.study.runs import EvaluationConfig, read_config
from sft_tradeoff.system.console import UserError, quick_start, run_main
from sft_tradeoff.system.files import atomic_write_json, path_with_checksum
from sft_tradeoff.system.provenance import meta_info, peak_memory_bytes, run_info

if TYPE_CHECKING:
    from sft_tradeoff.domains.spec import DomainSpec
    from sft_tradeoff.suite.items import ItemFile

logger = logging.getLogger(__name__)


class EvaluationError(UserError, RuntimeError):
    """The scores would not be valid; nothing was written."""


class StateFiles(NamedTuple):
    """Files of θ0's hidden states, from which the divergence from θ0 is measured.

    Args:
        prompts: One per domain of an evaluation, in its order; empty if they are not wanted.
        texts: Of texts sampled from θ0; None likewise.
    """

    prompts: Sequence[Path] = ()
    texts: Path | None = None


NO_STATES = StateFiles()


def read_test(
    spec: DomainSpec, data: Path, tokens: Path, max_length: int
) -> tuple[ItemFile, TokenizedData]:
    """Read a domain's test examples as text and tokenized, and check that they fit the window.

    Raises:
        SuiteError: If the examples are unusable.
        EvaluationError: If the tokens belong to other data, or an example exceeds the window.
    """
    test = read_records(spec, data)
    try:
        tokenized = TokenizedData.load(tokens)
    except TokenizationError as error:
        raise EvaluationError(f"domain {spec.label!r}: {error}") from error
    if len(tokenized) != len(test.items):
        raise EvaluationError(
            f"domain {spec.label!r}: {tokens} has {len(tokenized)} examples, {data} "
            f"{len(test.items)}; delete both and run the same command again"
        )
    if tokenized.lengths.max() >= max_length:
        raise EvaluationError(
            f"evaluation.max_length: {max_length} is too small for domain {spec.label!r}, whose "
            f"longest example has {tokenized.lengths.max()} tokens; raise it, or lower "
            "training.max_length"
        )
    return test, tokenized


def read_tests(
    config: EvaluationConfig, data: Sequence[Path], tokens: Sequence[Path]
) -> list[tuple[ItemFile, TokenizedData]]:
    """Read the test examples of all domains of an evaluation; see :func:`read_test`."""
    window = config.evaluation.max_length
    return [read_test(*d, window) for d in zip(config.domains, data, tokens, strict=True)]


def summarize(items: pd.DataFrame) -> list[dict[str, Any]]:
    """Value, standard error and n of every (benchmark, metric); NaN if an item is not finite."""
    metrics = []
    for (benchmark, metric), rows in items.groupby(["benchmark", "metric"], sort=False):
        estimate = ratio_estimate(rows["value"].to_numpy(), rows["size"].to_numpy())
        broken = int(rows["value"].isna().sum())
        metrics.append(
            {
                "benchmark": benchmark,
                "metric": metric,
                "value": estimate.value,
                "stderr": estimate.stderr,
                "n": estimate.n,
                "reason": f"{broken} of {len(rows)} items are not finite" if broken else None,
            }
        )
    return metrics


def check_expected(config: EvaluationConfig, metrics: list[dict[str, Any]]) -> None:
    """Check θ0's scores against the catalogue's ranges, to notice a model that is loaded wrongly.

    Raises:
        EvaluationError: If a score is outside its range, or a range is for an unknown score.
    """
    scores = {(m["benchmark"], m["metric"]): m for m in metrics}
    for key, (low, high) in config.expected.items():
        benchmark, metric = key.rsplit(".", 1)
        found = scores.get((benchmark, metric))
        if found is None:
            if known := [name for task, name in scores if task == benchmark]:
                raise EvaluationError(
                    f"model {config.model!r}: {key} in 'expected' of its catalogue entry is not a "
                    f"score, so it could not be compared; choose one of {', '.join(known)}"
                )
            continue  # a task that this study does not have
        # A small sample may miss the range by chance: allow three standard errors.
        slack = 3 * found["stderr"] if found["n"] > 1 else math.inf
        if not low - slack <= found["value"] <= high + slack:
            raise EvaluationError(
                f"model {config.model!r}: {key} of θ0 is {found['value']:.3f}, expected "
                f"{low}-{high}; weights, tokenizer or chat template are not the intended ones, or "
                "'expected' in the model's catalogue entry is wrong"
            )


def evaluate(
    config: EvaluationConfig,
    model_folder: Path,
    base_model: Path,
    data: Sequence[Path],
    tokens: Sequence[Path],
    out: Path,
    states: StateFiles = NO_STATES,
) -> None:
    """Evaluate one model; write ``out`` (eval.json), and items and answers in the same folder.

    Args:
        config: What to evaluate.
        model_folder: Weights and tokenizer.
        base_model: θ0's folder, for its hash.
        data: ``test.jsonl`` of each of the config's domains, in their order.
        tokens: ``test.npz`` of each domain, the same examples tokenized.
        out: Path of ``eval.json``; written last.
        states: θ0's hidden states, if the config asks for the divergence from it.
    """
    started = time.monotonic()
    with quick_start():
        from sft_tradeoff.evaluation.divergence import divergence_rows, read_divergence
        from sft_tradeoff.evaluation.load import dtype_of, load_lm, weights_seen
        from sft_tradeoff.evaluation.rescoring import shipped_rows
        from sft_tradeoff.evaluation.token_scores import KeptTokens

        tokenizer = load_tokenizer(model_folder)
        tests = read_tests(config, data, tokens)
        with explain_template(config, base_model):
            tasks = tasks_of(config, tokenizer, tests)
        # Recorded now: the files may change while the evaluation runs.
        tested = {t.label: t.sha256 for t in tasks}
        facts = meta_info(read_record(base_model)) | {"test_sha256": tested}
        lm = load_lm(model_folder, config.evaluation, tokenizer)
        wanted = read_divergence(lm, config, base_model, states, [t for t, _ in tests], tokens)
        tested |= wanted.sha256 if wanted else {}
    kept = KeptTokens(config, tests) if config.record_tokens else None
    items, asked, answers = run_tasks(lm, tasks, config.evaluation.chat_template, kept)
    asked_s = time.monotonic()
    items += divergence_rows(lm, wanted)
    divergence_s = time.monotonic() - asked_s
    items += shipped_rows(lm, config.evaluation, model_folder, tasks, items)
    logger.info("done in %.0f s", time.monotonic() - started)
    frame = item_table(items, tasks)
    check_expected(config, metrics := summarize(frame))
    remove_tokens(out.parent / TEST_TOKENS)  # of an earlier evaluation, if it kept some
    if kept:
        kept.write(out.parent / TEST_TOKENS, facts, tokenizer)
    info = {
        "metrics": metrics,
        "tasks": asked,
        "weights": weights_seen(config.evaluation),
        "dtype": dtype_of(lm, config.evaluation),
        "n_truncated": _count_truncated(config, tests),
        "time_s": time.monotonic() - started,
        "divergence_s": divergence_s,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    _write(out, frame, answers, config, {"eval_info": info, "meta_info": facts})


def _write(
    out: Path,
    items: pd.DataFrame,
    answers: Sequence[Answer],
    config: EvaluationConfig,
    found: dict[str, Any],
) -> None:
    """Write the scores of items, the answers and, last, the record."""
    with path_with_checksum(out.parent / "items.parquet") as temporary:
        items.to_parquet(temporary, index=False)
    write_answers(out.parent / ANSWERS, answers)
    origin = {"run_info": run_info(config.model_dump(mode="json"))}
    atomic_write_json(out, origin | found, checksum=True)


def _count_truncated(
    config: EvaluationConfig, tests: Sequence[tuple[ItemFile, TokenizedData]]
) -> dict[str, int]:
    """Truncated test responses of each domain."""
    return {
        str(domain.label): int(examples.truncated.sum())
        for domain, (_, examples) in zip(config.domains, tests, strict=True)
    }


@contextmanager
def explain_template(config: EvaluationConfig, base_model: Path) -> Iterator[None]:
    """Say where the user can correct a chat template that does not render a prompt."""
    try:
        yield
    except ChatTemplateError as error:
        fix = template_fix(template_place(base_model))
        raise EvaluationError(f"model {config.model!r}: {error}; {fix}") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff evaluate``."""
    add_input_arguments(parser)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder with weights and tokenizer"
    )
    parser.add_argument("--out", type=Path, required=True, help="eval.json to write")
    parser.add_argument(
        "--kl-references",
        type=Path,
        nargs="*",
        default=[],
        help="what kl-reference wrote, per domain, to measure KL(θ0‖θ)",
    )
    parser.add_argument(
        "--sampled-texts", type=Path, help="what sample-texts wrote, to measure code lengths"
    )


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say what is evaluated, for every command that evaluates."""
    parser.add_argument(
        "--config",
        required=True,
        help="resolved configuration of the evaluation: JSON, or a JSON file",
    )
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="test.jsonl per domain")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="test.npz per domain")


def main(args: argparse.Namespace) -> None:
    """Evaluate one model from its resolved configuration."""
    config = read_config(EvaluationConfig, args.config)
    with run_main(f"evaluate {config.run}"):
        states = StateFiles(args.kl_references, args.sampled_texts)
        evaluate(config, args.model, args.base_model, args.data, args.tokens, args.out, states)
