"""Evaluate one checkpoint: the general suite and its domains, through lm-eval, in one process.

Every metric is a ratio Σ value / Σ size over items (accuracy: size 1; bits per byte: size bytes),
and every item is kept, because paired tests against θ0 need them.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sft_tradeoff.analysis.stats import ratio_estimate
from sft_tradeoff.console import UserError, run_main
from sft_tradeoff.domains import Domain, get_domain
from sft_tradeoff.files import atomic_path, atomic_write_json, sha256_of
from sft_tradeoff.provenance import meta_info, peak_memory_bytes, run_info
from sft_tradeoff.runs import EvaluationConfig, read_config
from sft_tradeoff.sources import cache_dir
from sft_tradeoff.tokenization import TokenizedData, read_jsonl

if TYPE_CHECKING:
    from sft_tradeoff.config import DomainSpec, EvaluationSpec
    from sft_tradeoff.lm import HeadOnlyLM

logger = logging.getLogger(__name__)
TASK_FOLDER = Path("workflow/tasks")
COLUMNS = ["benchmark", "item", "metric", "value", "size"]
Item = tuple[str, str, str, float, float]  # one row of COLUMNS


class EvaluationError(UserError, RuntimeError):
    """The evaluation cannot be trusted; nothing was written."""


def general_items(lm: HeadOnlyLM, spec: EvaluationSpec) -> list[Item]:
    """Run the general suite and return its items.

    Prompts carry no chat template here: the suite measures what the model knows in the form in
    which base and tuned models are compared (the paper study's own tasks use the template).
    """
    if not spec.tasks:
        return []
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASK_FOLDER), include_defaults=False)
    tasks, limits = [], {}
    for name, limit in spec.tasks.items():
        path = cache_dir() / "benchmarks" / f"{name}.jsonl"
        if name not in manager.all_tasks:
            known = ", ".join(manager.all_tasks)
            raise EvaluationError(f"evaluation.tasks: unknown task {name!r}; choose from {known}")
        tasks.append({"task": name, "dataset_kwargs": {"data_files": {"test": str(path)}}})
        n_items = sum(1 for _ in read_jsonl(path))
        limits[name] = list(range(min(limit or n_items, n_items)))
    samples = _simple_evaluate(lm, tasks, spec, manager, samples=limits)
    return [row for name, rows in samples.items() for row in _general_rows(name, rows)]


def _general_rows(name: str, samples: Iterable[Mapping[str, Any]]) -> Iterable[Item]:
    """One row per item and metric from lm-eval's per-sample log."""
    for sample in samples:
        item = str(sample["doc"]["id"])
        for metric in sample["metrics"]:
            value = sample[metric]
            if metric == "bits_per_byte":  # lm-eval logs (log-likelihood in nats, bytes)
                yield name, item, metric, -value[0] / math.log(2), float(value[1])
            else:
                yield name, item, metric, float(value), 1.0


def domain_items(
    lm: HeadOnlyLM, spec: DomainSpec, test_path: Path, evaluation: EvaluationSpec
) -> list[Item]:
    """Generate an answer to every test prompt and grade it by the domain's own rule."""
    domain = get_domain(spec.name)
    task = _domain_task(domain, spec, test_path)
    samples = _simple_evaluate(lm, [task], evaluation, None, apply_chat_template=True)
    rows: list[Item] = []
    answers: list[tuple[str, float]] = []
    label = str(spec.label)
    for sample in samples[task["task"]]:
        record = json.loads(sample["doc"]["record"])
        rows.append((label, record["id"], "accuracy", float(sample["correct"]), 1.0))
        rows.append((label, record["id"], "format_failure", float(sample["format_failure"]), 1.0))
        answers.append((record["answer"], float(sample["correct"])))
    if domain.labels:
        rows += _balanced_rows(label, [r[1] for r in rows[::2]], answers)
    return rows


def _balanced_rows(label: str, ids: list[str], answers: list[tuple[str, float]]) -> Iterable[Item]:
    """Weigh items so that their mean is the mean over gold labels of the accuracy within each."""
    counts = Counter(gold for gold, _ in answers)
    for item, (gold, correct) in zip(ids, answers, strict=True):
        weight = len(answers) / (len(counts) * counts[gold])
        yield label, item, "balanced_accuracy", correct * weight, 1.0


def _domain_task(domain: Domain, spec: DomainSpec, test_path: Path) -> dict[str, Any]:
    """lm-eval task of a domain: chat prompt, greedy generation, the domain's rule as metric."""

    def process_results(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
        score = domain.score(json.loads(doc["record"]), results[0])
        return {"correct": float(score.correct), "format_failure": float(score.format_failure)}

    def load(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        rows = [{"prompt": r["prompt"], "record": json.dumps(r)} for r in read_jsonl(test_path)]
        return {"test": Dataset.from_list(rows)}

    metrics = ("correct", "format_failure")
    return {
        "task": f"domain_{spec.label}",
        "custom_dataset": load,
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "",
        "process_results": process_results,
        "metric_list": [
            {"metric": m, "aggregation": "mean", "higher_is_better": m == "correct"}
            for m in metrics
        ],
        "generation_kwargs": {
            "max_gen_toks": spec.max_new_tokens or domain.max_new_tokens[spec.variant],
            "do_sample": False,
            "until": [],
        },
        "metadata": {"version": 1.0},
    }


def _simple_evaluate(
    lm: HeadOnlyLM,
    tasks: list[Any],
    spec: EvaluationSpec,
    manager: Any,
    **options: Any,
) -> dict[str, list[dict[str, Any]]]:
    """Call lm-eval and return its per-sample log by task."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    result = simple_evaluate(
        model=lm,
        tasks=tasks,
        num_fewshot=0,
        task_manager=manager or TaskManager(include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        random_seed=spec.seed,
        numpy_random_seed=spec.seed,
        torch_random_seed=spec.seed,
        fewshot_random_seed=spec.seed,
        **options,
    )
    samples: dict[str, list[dict[str, Any]]] = result["samples"]
    return samples


def domain_nll_items(lm: HeadOnlyLM, label: str, tokens_path: Path) -> list[Item]:
    """Loss of the gold responses, as in training: Σ nats and tokens per test example."""
    data = TokenizedData.load(tokens_path)
    total, _ = lm.score_data(data)
    n_tokens = [float(data.example(i)[1].sum()) for i in range(len(data))]
    return [
        (label, str(i), "nll", -nats, n)
        for i, (nats, n) in enumerate(zip(total, n_tokens, strict=True))
    ]


def summarise(items: pd.DataFrame) -> list[dict[str, Any]]:
    """Value, standard error and n of every (benchmark, metric); broken scores stay NaN."""
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
    """Refuse a θ0 whose scores are far from the known ones: it was loaded wrongly.

    Raises:
        EvaluationError: Naming the benchmark, the score and the range.
    """
    scores = {(m["benchmark"], m["metric"]): m for m in metrics}
    for key, (low, high) in config.expected.items():
        benchmark, metric = key.rsplit(".", 1)
        found = scores.get((benchmark, metric))
        if found is None:
            continue
        # A small sample may miss the range by chance; three standard errors are forgiven.
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
) -> None:
    """Evaluate one checkpoint and write ``out`` (eval.json) and ``items.parquet`` beside it.

    Args:
        config: What to evaluate.
        model_folder: Weights and tokenizer.
        base_model: θ0's folder, for its hash.
        data: ``test.jsonl`` of each of the config's domains, in their order.
        tokens: The same examples tokenised, ``test.npz``.
        out: Path of ``eval.json``; written last.
    """
    from sft_tradeoff.lm import load_lm

    started = time.monotonic()
    spec = config.evaluation
    lm = load_lm(model_folder, spec)
    items = general_items(lm, spec)
    logger.info("general suite: %.0f s", time.monotonic() - started)
    for domain, data_path, tokens_path in zip(config.domains, data, tokens, strict=True):
        items += domain_nll_items(lm, str(domain.label), tokens_path)
        items += domain_items(lm, domain, data_path, spec)
        logger.info("domain %s: %.0f s", domain.label, time.monotonic() - started)
    frame = pd.DataFrame(items, columns=COLUMNS).replace([math.inf, -math.inf], math.nan)
    metrics = summarise(frame)
    check_expected(config, metrics)
    with atomic_path(out.parent / "items.parquet") as temporary:
        frame.to_parquet(temporary, index=False)
    info = {
        "metrics": metrics,
        "time_s": time.monotonic() - started,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    hashes = {str(d.label): sha256_of(p) for d, p in zip(config.domains, data, strict=True)}
    atomic_write_json(
        out,
        {
            "run_info": run_info(config.model_dump(mode="json")),
            "eval_info": info,
            "meta_info": meta_info(base_model) | {"test_sha256": hashes},
        },
    )


def main() -> None:
    """Evaluate one checkpoint from its resolved configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="resolved evaluation: JSON, or a file")
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="test.jsonl per domain")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="test.npz per domain")
    parser.add_argument("--out", type=Path, required=True, help="eval.json to write")
    args = parser.parse_args()
    config = read_config(EvaluationConfig, args.config)
    with run_main(f"evaluate {config.run}"):
        evaluate(config, args.model, args.base_model, args.data, args.tokens, args.out)


if __name__ == "__main__":
    main()
