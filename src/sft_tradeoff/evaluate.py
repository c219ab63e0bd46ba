"""Evaluate one checkpoint: the general suite and its domains, through lm-eval, in one process.

Every metric is a ratio Σ value / Σ size over items (accuracy: size 1; bits per byte: size bytes),
and every item is kept, because paired tests against θ0 need them.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sft_tradeoff.analysis.stats import ratio_estimate
from sft_tradeoff.console import UserError, run_main
from sft_tradeoff.domains import get_domain
from sft_tradeoff.files import atomic_path, atomic_write_json, sha256_of
from sft_tradeoff.provenance import meta_info, peak_memory_bytes, run_info
from sft_tradeoff.runs import EvaluationConfig, read_config
from sft_tradeoff.sources import cache_dir
from sft_tradeoff.tokenization import TokenizedData, read_jsonl, render_prompt

if TYPE_CHECKING:
    from sft_tradeoff.lm import HeadOnlyLM
    from sft_tradeoff.specs import DomainSpec

logger = logging.getLogger(__name__)
TASK_FOLDER = Path("workflow/tasks")
COLUMNS = ["benchmark", "item", "metric", "value", "size"]
Item = tuple[str, str, str, float, float]  # one row of COLUMNS


class EvaluationError(UserError, RuntimeError):
    """The evaluation cannot be trusted; nothing was written."""


def harness_items(lm: HeadOnlyLM, config: EvaluationConfig, data: Sequence[Path]) -> list[Item]:
    """Run the general suite and the domains' generation in one call of lm-eval.

    Prompts of the general suite carry no chat template: it measures what the model knows, in a
    form in which base and tuned models compare. Domain prompts are rendered as in training.

    Args:
        lm: The checkpoint.
        config: What to evaluate.
        data: ``test.jsonl`` of each of the config's domains.
    """
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASK_FOLDER), include_defaults=False)
    suite = [_general_task(name, manager.all_tasks) for name in config.evaluation.tasks]
    # Only within a group does lm-eval merge our overrides into the task's own file.
    tasks: list[Any] = [{"group": "general", "task": suite}] if suite else []
    tasks += [_domain_task(lm, d, p) for d, p in zip(config.domains, data, strict=True)]
    # Not simple_evaluate: it adds seconds of environment details (host name included) to every job,
    # and seeds generators that nothing here draws from.
    samples = evaluator.evaluate(
        lm,
        manager.load(tasks),
        samples={name: _first(name, limit) for name, limit in config.evaluation.tasks.items()},
        bootstrap_iters=0,
    )["samples"]
    items = [row for name in config.evaluation.tasks for row in _general_rows(name, samples[name])]
    for domain in config.domains:
        items += _domain_rows(domain, samples[_task_name(domain)])
    return items


def _items_path(name: str) -> Path:
    return cache_dir() / "benchmarks" / f"{name}.jsonl"


def _first(name: str, limit: int | None) -> list[int]:
    """Indices of the first items: a random sample, because the files are shuffled."""
    n_items = sum(1 for _ in read_jsonl(_items_path(name)))
    return list(range(min(limit or n_items, n_items)))


def _general_task(name: str, known: Sequence[str]) -> dict[str, Any]:
    """Reference to a task file, with the items where this cache has them."""
    if name not in known:
        choices = ", ".join(known)
        raise EvaluationError(f"evaluation.tasks: unknown task {name!r}; choose from {choices}")
    return {"task": name, "dataset_kwargs": {"data_files": {"test": str(_items_path(name))}}}


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


def _task_name(spec: DomainSpec) -> str:
    return f"domain_{spec.label}"


def _domain_task(lm: HeadOnlyLM, spec: DomainSpec, test_path: Path) -> dict[str, Any]:
    """lm-eval task of a domain: chat prompt, greedy generation, the domain's rule as metric."""
    domain = get_domain(spec.name)
    n_new = spec.max_new_tokens or domain.max_new_tokens[spec.variant]

    def process_results(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
        score = domain.score(json.loads(doc["record"]), results[0])
        return {"correct": float(score.correct), "format_failure": float(score.format_failure)}

    def load(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        rows = [
            {"prompt": render_prompt(lm.tokenizer, r["prompt"]), "record": json.dumps(r)}
            for r in read_jsonl(test_path)
        ]
        longest = max(len(lm.tok_encode(row["prompt"])) for row in rows)
        if longest + n_new > lm.max_length:
            raise EvaluationError(
                f"evaluation.max_length: {lm.max_length} is too small for domain {spec.label!r}: "
                f"the longest prompt has {longest} tokens and {n_new} may be generated; raise it, "
                "or lower the domain's max_new_tokens"
            )
        return {"test": Dataset.from_list(rows)}

    return {
        "task": _task_name(spec),
        "custom_dataset": load,
        "test_split": "test",
        "num_fewshot": 0,
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "",
        "process_results": process_results,
        "metric_list": [
            {"metric": "correct", "aggregation": "mean", "higher_is_better": True},
            {"metric": "format_failure", "aggregation": "mean", "higher_is_better": False},
        ],
        "generation_kwargs": {
            "max_gen_toks": n_new,
            "do_sample": False,
            "until": [],
        },
        "metadata": {"version": 1.0},
    }


def _domain_rows(spec: DomainSpec, samples: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Accuracy, format failures and, for a closed set of labels, balanced accuracy."""
    label = str(spec.label)
    graded = [(json.loads(s["doc"]["record"]), s) for s in samples]
    rows: list[Item] = []
    for record, sample in graded:
        rows.append((label, record["id"], "accuracy", float(sample["correct"]), 1.0))
        rows.append((label, record["id"], "format_failure", float(sample["format_failure"]), 1.0))
    if get_domain(spec.name).labels:
        # Weighed so that the mean over items is the mean over gold labels of each one's accuracy.
        counts = Counter(record["answer"] for record, _ in graded)
        for record, sample in graded:
            weight = len(graded) / (len(counts) * counts[record["answer"]])
            value = float(sample["correct"]) * weight
            rows.append((label, record["id"], "balanced_accuracy", value, 1.0))
    return rows


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
    # lm-eval's copies of the items stay in the project's cache; read when `datasets` is imported.
    os.environ.setdefault("HF_DATASETS_CACHE", str(cache_dir() / "datasets"))
    from sft_tradeoff.lm import load_lm

    started = time.monotonic()
    lm = load_lm(model_folder, config.evaluation)
    items = harness_items(lm, config, data)
    for domain, path in zip(config.domains, tokens, strict=True):
        items += domain_nll_items(lm, str(domain.label), path)
    logger.info("done in %.0f s", time.monotonic() - started)
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
