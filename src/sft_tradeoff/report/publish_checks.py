"""Whether a study may be published: finished, up to date, and with no broken score."""

from __future__ import annotations

from pathlib import Path

from sft_tradeoff.analysis.aggregate import over_seeds, tradeoff_table
from sft_tradeoff.analysis.epochs import ITEMS_NAME, epoch_table
from sft_tradeoff.analysis.run_records import Record
from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.analysis.tables import read_run_table
from sft_tradeoff.report.published import PublishError
from sft_tradeoff.study.config import Study
from sft_tradeoff.study.runs import (
    EvaluationConfig,
    RunConfig,
    aggregated_tables,
    evaluation_configs,
    expand_runs,
)
from sft_tradeoff.study.runs import run_table as planned_runs
from sft_tradeoff.system.text import listing

RUN_TABLE = "run_table.csv"


def records_of(study: Study) -> dict[str, RunConfig | EvaluationConfig]:
    """The records of a finished study: relative path -> the settings that it must hold."""
    trained = {f"runs/{run.run}/train.json": run for run in expand_runs(study)}
    return trained | {f"runs/{n}/eval.json": c for n, c in evaluation_configs(study).items()}


def run_files(study: Study) -> list[str]:
    """Relative paths of the files of all runs of a finished study, without weights."""
    items = [f"runs/{name}/items.parquet" for name in evaluation_configs(study)]
    epochs = [f"runs/{run.run}/{ITEMS_NAME}" for run in expand_runs(study) if run.validation]
    return sorted([*records_of(study), *items, *epochs])


def check_finished(study: Study, results: Path) -> None:
    """Refuse a study with runs that are not trained, not evaluated or made with other settings.

    Raises:
        PublishError: Naming the runs.
    """
    missing = [name for name in run_files(study) if not (results / name).is_file()]
    if runs := sorted({Path(name).parent.name for name in missing}):
        raise PublishError(
            f"study {study.study!r}: {len(runs)} of {len(evaluation_configs(study))} runs are not "
            f"finished: {listing(runs)}; {_run_again(study)}"
        )
    for name, config in records_of(study).items():
        expected = config.model_dump(mode="json")
        found = Record.read(results / name).config
        keys = sorted(expected.keys() | found.keys())
        if other := [key for key in keys if found.get(key) != expected.get(key)]:
            raise PublishError(
                f"{results / name}: {listing(other)}: not as in the study file; this run was "
                f"made with other settings; {_run_again(study)}"
            )


def check_tables(study: Study, results: Path) -> None:
    """Refuse broken scores, and tables that do not match the runs in the same folder.

    Raises:
        PublishError: Naming the scores or the table.
        UserError: If a run and θ0 were evaluated on different items.
    """
    tables = {RUN_TABLE: planned_runs(study).to_csv(index=False)}
    _check_table(study, results / RUN_TABLE, tables[RUN_TABLE])
    runs = read_run_table(results / RUN_TABLE)
    scores = score_table(runs, results / "runs")
    broken = scores[scores["reason"] != ""]
    if len(broken):
        rows = [
            f"{run} on {benchmark}, {metric}: {reason}"
            for run, benchmark, metric, reason in broken[
                ["run", "benchmark", "metric", "reason"]
            ].to_numpy()
        ]
        raise PublishError(
            f"study {study.study!r}: {len(rows)} scores are broken: {listing(rows)}; find out why, "
            "or remove these settings from the study"
        )
    tradeoff = tradeoff_table(scores, runs, results / "runs")
    made = [scores, tradeoff, over_seeds(tradeoff), epoch_table(runs, results / "runs")]
    for name, table in zip(aggregated_tables(study), made, strict=False):  # epochs may be absent
        _check_table(study, results / name, table.to_csv(index=False, lineterminator="\n"))


def _check_table(study: Study, path: Path, expected: str) -> None:
    if not path.is_file():
        raise PublishError(f"{path}: missing; {_run_again(study)}")
    if path.read_bytes() != expected.encode():
        raise PublishError(
            f"{path}: does not match the runs in {path.parent}; delete it and {_run_again(study)}"
        )


def _run_again(study: Study) -> str:
    return f"run make study STUDY={study.study}, then publish again"
