"""Whether a study may be published: finished, up to date, and with no broken score."""

from __future__ import annotations

from pathlib import Path

from sft_tradeoff.analysis.aggregate import aggregated
from sft_tradeoff.analysis.answers import ANSWERS, read_answers
from sft_tradeoff.analysis.epochs import ITEMS_NAME, epoch_table
from sft_tradeoff.analysis.run_records import Record
from sft_tradeoff.analysis.tables import read_run_table
from sft_tradeoff.analysis.talr_options import talr_options_table
from sft_tradeoff.analysis.token_records import TEST_TOKENS, TRAINING_TOKENS
from sft_tradeoff.analysis.token_tables import token_tables
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


def floor_files(study: Study) -> list[str]:
    """Relative paths of the numerical noise floors of a finished study, one per model."""
    return [f"noise_floor/{model}.json" for model in study.models]


def run_files(study: Study) -> list[str]:
    """Relative paths of the files behind all scores of a finished study, without weights."""
    tables = [
        f"runs/{name}/{table}"
        for name in evaluation_configs(study)
        for table in ("items.parquet", ANSWERS)
    ]
    epochs = [f"runs/{run.run}/{ITEMS_NAME}" for run in expand_runs(study) if run.validation]
    tokens = [
        f"runs/{name}/{TEST_TOKENS}"
        for name, config in evaluation_configs(study).items()
        if config.record_tokens
    ]
    tokens += [f"runs/{r.run}/{TRAINING_TOKENS}" for r in expand_runs(study) if r.record_tokens]
    return sorted([*records_of(study), *tables, *epochs, *tokens, *floor_files(study)])


def check_finished(study: Study, results: Path, then: str = "publish") -> None:
    """Refuse a study with runs that are not trained, not evaluated or made with other settings.

    Args:
        study: The study.
        results: Its results.
        then: What needs a finished study, for the error message.

    Raises:
        PublishError: Naming the runs, or the noise floor that was not measured.
        DamagedFileError: Naming a file of answers.
    """
    missing = {name for name in run_files(study) if not (results / name).is_file()}
    unmeasured = sorted(missing.intersection(floor_files(study)))
    missing -= set(unmeasured)
    if runs := sorted({Path(name).parent.name for name in missing}):
        raise PublishError(
            f"study {study.study!r}: {len(runs)} of {len(evaluation_configs(study))} runs are not "
            f"finished: {listing(runs)}; {_run_again(study, then)}"
        )
    if unmeasured:
        raise PublishError(
            f"study {study.study!r}: the numerical noise floor is not measured: "
            f"{listing(unmeasured)}; {_run_again(study, then)}"
        )
    for name, config in records_of(study).items():
        expected = config.model_dump(mode="json")
        found = Record.read(results / name).config
        keys = sorted(expected.keys() | found.keys())
        if other := [key for key in keys if found.get(key) != expected.get(key)]:
            raise PublishError(
                f"{results / name}: {listing(other)}: not as in the study file; this run was "
                f"made with other settings; {_run_again(study, then)}"
            )
    for name in evaluation_configs(study):
        read_answers(results / "runs" / name)  # refuses damage


def check_tables(study: Study, results: Path) -> None:
    """Refuse broken scores, and tables that do not match the runs in the same folder.

    Raises:
        PublishError: Naming the scores or the table.
        UserError: If a run and θ0 were evaluated on different items.
    """
    tables = {RUN_TABLE: planned_runs(study).to_csv(index=False)}
    _check_table(study, results / RUN_TABLE, tables[RUN_TABLE])
    runs = read_run_table(results / RUN_TABLE)
    found = aggregated(runs, results / "runs")
    scores = found[0]
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
    names = ("scores.csv", "tradeoff.csv", "tradeoff_over_seeds.csv")
    made = dict(zip(names, found, strict=True)) | {
        "epochs.csv": epoch_table(runs, results / "runs"),
        "talr_options.csv": talr_options_table(found[2], runs, results / "runs"),
    }
    if study.record_tokens:
        made |= token_tables(runs, results / "runs")
    for name in aggregated_tables(study):
        _check_table(study, results / name, made[name].to_csv(index=False, lineterminator="\n"))


def _check_table(study: Study, path: Path, expected: str) -> None:
    if not path.is_file():
        raise PublishError(f"{path}: missing; {_run_again(study)}")
    if path.read_bytes() != expected.encode():
        raise PublishError(
            f"{path}: does not match the runs in {path.parent}; delete it and {_run_again(study)}"
        )


def _run_again(study: Study, then: str = "publish") -> str:
    return f"run make study STUDY={study.study}, then {then} again"
