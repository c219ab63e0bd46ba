"""A finished study made by hand: the files its runs would have written, without any run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from sft_tradeoff.analysis.aggregate import over_seeds, tradeoff_table
from sft_tradeoff.analysis.noise_floor import largest
from sft_tradeoff.analysis.run_records import Key
from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.analysis.tables import read_run_table
from sft_tradeoff.evaluation.answers import Answer, Said
from sft_tradeoff.evaluation.answers import write_answers as write
from sft_tradeoff.study.added_rates import with_added_rates
from sft_tradeoff.study.config import load_study
from sft_tradeoff.study.runs import EvaluationConfig, RunConfig, evaluation_configs, expand_runs
from sft_tradeoff.study.runs import run_table as planned_runs

STUDY = """\
# made by hand
study: tiny
models: [random-2layer]
domains: [{name: esci, variant: label_only}]
methods: [{name: sft}]
learning_rates: {full: [1.0e-5, 1.0e-4]}
evaluation: {tasks: {piqa: 4, code_length_code: 2}}
"""
BASE = "random-2layer.base"
RUN = "random-2layer.esci-label_only.sft.lr1e-5.seed0"
OTHER_RUN = "random-2layer.esci-label_only.sft.lr1e-4.seed0"
SCORES: dict[tuple[str, str], list[float]] = {
    ("piqa", "acc_norm"): [1, 0, 1, 1],
    ("code_length_code", "bits_per_byte"): [2, 3],
    ("esci-label_only", "accuracy"): [1, 0, 0, 1],
    ("esci-label_only", "format_failure"): [0, 0, 0, 1],
    ("esci-label_only", "nll"): [0.5, 1.5, 1, 1],
    ("esci-label_only", "nll_shipped"): [0.5, 1.5, 1, 1],
    ("code_length_code", "bits_per_byte_shipped"): [2, 3],
}
CONTINUOUS = ("nll", "bits_per_byte", "nll_shipped", "bits_per_byte_shipped")
# θ0's scores with half of the tokens in a batch.
RESCORED: dict[Key, float] = {
    ("esci-label_only", "nll"): 1.0078125,
    ("code_length_code", "bits_per_byte"): 2.46875,
}
# The same with a second domain, on which all runs are scored as well.
CROSSED = STUDY.replace("label_only}]", "label_only}, {name: math}]").replace(
    "evaluation: {", "evaluation: {cross_domain: true, "
)
OTHER_SCORES: dict[tuple[str, str], list[float]] = {
    ("math-cot", "accuracy"): [0, 1, 0],
    ("math-cot", "format_failure"): [0, 0, 1],
    ("math-cot", "nll"): [1, 2, 3],
}
META = {"python": "3.11.7", "packages": {"numpy": "2.4.6"}, "hardware": "x86_64 AVX512"}
TABLES = {"run_table.csv", "scores.csv", "tradeoff.csv", "tradeoff_over_seeds.csv"}
RECORDS = {f"runs/{run}/train.json" for run in (RUN, OTHER_RUN)} | {
    f"runs/{run}/{name}"
    for run in (BASE, RUN, OTHER_RUN)
    for name in ("eval.json", "items.parquet", "answers.parquet")
}
FLOOR = "noise_floor/random-2layer.json"
RECORDS.add(FLOOR)


def make_finished_study(root: Path, crossed: bool = False) -> tuple[Path, Path]:
    """Write a study file, its runs' records and its tables.

    Args:
        root: Gets ``config/studies/tiny.yaml`` and ``results/tiny``.
        crossed: Whether it has a second domain, and every run is scored on both.

    Returns:
        The study file and the folder of results.
    """
    study_file, results = root / "config/studies/tiny.yaml", root / "results/tiny"
    study_file.parent.mkdir(parents=True, exist_ok=True)
    study_file.write_text(CROSSED if crossed else STUDY)
    scores = SCORES | (OTHER_SCORES if crossed else {})
    study = load_study(study_file)
    for n, (name, config) in enumerate(evaluation_configs(study).items()):
        write_items(results, name, shift=0.25 * n, scores=scores)
        write_answers(results, name)
        tests = {benchmark: "0" * 64 for benchmark, _ in scores}
        write_record(results / "runs" / name / "eval.json", config, {"test_sha256": tests})
    for run in expand_runs(study):
        write_record(results / "runs" / run.run / "train.json", run, {})
    write_floor(results)
    write_tables(study_file, results)
    return study_file, results


def write_record(path: Path, config: RunConfig | EvaluationConfig, meta: dict[str, Any]) -> None:
    """Write an ``eval.json`` or ``train.json``."""
    settings = config.model_dump(mode="json")
    record = {
        "run_info": {"config": settings, "git_commit": "c" * 40, "git_dirty": False},
        "train_info": {"tokens_per_s": 100.0, "time_s": 7.0},
        "meta_info": META | meta,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def write_items(
    results: Path,
    run: str,
    shift: float = 0.0,
    scores: Mapping[tuple[str, str], Sequence[float]] = SCORES,
) -> None:
    """Write per-item scores; losses and code lengths of different runs differ by ``shift``."""
    rows = [
        (benchmark, str(item), metric, value + shift * (metric in CONTINUOUS), 1.0)
        for (benchmark, metric), values in scores.items()
        for item, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows, columns=["benchmark", "item", "metric", "value", "size"])
    (results / "runs" / run).mkdir(parents=True, exist_ok=True)
    frame.to_parquet(results / "runs" / run / "items.parquet", index=False)


def write_floor(results: Path) -> None:
    """Write θ0's numerical noise floor."""
    floors: dict[str, dict[str, Any]] = {}
    for (benchmark, metric), score in RESCORED.items():
        own = sum(SCORES[benchmark, metric]) / len(SCORES[benchmark, metric])
        found = largest(own, {"batch_tokens 2048": score})
        floors.setdefault(benchmark, {})[metric] = asdict(found)
    (results / FLOOR).parent.mkdir(parents=True, exist_ok=True)
    (results / FLOOR).write_text(json.dumps(floors))


def write_answers(results: Path, run: str) -> None:
    """Write answers to the items with an accuracy, right as in :data:`SCORES`."""
    answers = [
        Answer(benchmark, str(item), Said("generation", f"It is {item}.", str(item)), bool(value))
        for (benchmark, metric), values in SCORES.items()
        for item, value in enumerate(values)
        if metric in ("acc_norm", "accuracy")
    ]
    write(results / "runs" / run / "answers.parquet", answers)
    (results / "runs" / run / ".answers.parquet.sha256").unlink()


def write_tables(study_file: Path, results: Path) -> None:
    """Write the run table and the aggregated tables."""
    path, study = results / "run_table.csv", with_added_rates(load_study(study_file), results)
    path.write_text(planned_runs(study).to_csv(index=False))
    runs = read_run_table(path)
    scores = score_table(runs, results / "runs")
    tradeoff = tradeoff_table(scores, runs, results / "runs")
    tables = {"scores": scores, "tradeoff": tradeoff, "tradeoff_over_seeds": over_seeds(tradeoff)}
    for name, table in tables.items():
        (results / f"{name}.csv").write_text(table.to_csv(index=False))


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by relative path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
