"""Every score of every run, and its difference from θ0's, paired item by item.

Scores that cannot be paired are an error: θ0 and the run were then asked different things. A score
with a broken item is NaN, with the reason next to it; the other scores are not affected.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from sft_tradeoff.analysis.noise_floor import floor_of, read_noise_floor
from sft_tradeoff.analysis.run_records import Evaluation, Items, Key, read_evaluation
from sft_tradeoff.analysis.starts import starts_of
from sft_tradeoff.analysis.tables import (
    BASE,
    OPTIONAL_METRICS,
    RESULT,
    SCORE_COLUMNS,
    Row,
    domains_of,
    own_domains,
    rows_of,
)
from sft_tradeoff.stats.estimates import paired_difference, ratio_estimate
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.text import listing

logger = logging.getLogger(__name__)

NOT_EVALUATED = "run not evaluated"
NOT_MEASURED = "not measured by the version that evaluated this run"
NO_RESULT: Row = dict.fromkeys(RESULT, math.nan) | {"n": 0, "reason": NOT_EVALUATED}
SHOWN_DIGITS = 12  # of a checksum, in messages


def join_reasons(reasons: Iterable[str]) -> str:
    """Join the reasons for NaN scores, each once; empty if there are none."""
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def score_table(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Score every run on every benchmark, and compare it with θ0 item by item.

    A run that is not evaluated gets NaN rows and is named in a warning.

    Args:
        runs: The run table, θ0 included (method ``base``).
        folder: Holds ``<run>/eval.json`` and ``<run>/items.parquet``; beside it,
            ``noise_floor/<model>.json``, if it was measured.

    Raises:
        UserError: If θ0 is missing, or was evaluated on different items than a run.
    """
    rows: list[Row] = []
    for model, group in runs.groupby("model", sort=False):
        base = _read_base(str(model), group, folder)
        floors = read_noise_floor(folder, str(model), base.items)
        trained = domains_of(group)
        domains = list(dict.fromkeys([*trained, *(d.label for d in base.record.domains)]))
        before = [start.domain for start in starts_of(base.record)]  # which may be forgotten
        for run in rows_of(group):
            is_all = base.record.cross_domain or run["method"] == BASE
            tested = domains if is_all else [*own_domains(run, trained), *before]
            expected = [key for key in base.items if key[0] in tested or key[0] not in domains]
            results = dict.fromkeys(expected, NO_RESULT)
            if evaluation := read_evaluation(folder / run["run"]):
                results = _score_run(run, evaluation, base, expected)
            for key, result in results.items():
                floor = {"noise_floor": floor_of(floors, key)}
                rows.append(
                    run | dict(zip(("benchmark", "metric"), key, strict=True)) | result | floor
                )
    scores = pd.DataFrame(rows, columns=SCORE_COLUMNS).astype({"seed": "Int64"})
    _warn(scores, len(runs))
    return scores


def _read_base(model: str, runs: pd.DataFrame, folder: Path) -> Evaluation:
    """Scores of θ0, which every run is compared with."""
    names = runs.loc[runs["method"] == BASE, "run"].tolist()
    base = read_evaluation(folder / names[0]) if names else None
    if base is None:
        where = folder / names[0] if names else "not in the run table"
        raise UserError(
            f"model {model!r}: θ0 is not evaluated ({where}), so no run can be compared with it; "
            "evaluate it first"
        )
    return base


# --- comparing ----------------------------------------------------------------------------------


def _score_run(
    run: Row, evaluation: Evaluation, base: Evaluation, expected: Sequence[Key]
) -> dict[Key, Row]:
    name, whose = run["run"], " of θ0" if run["method"] == BASE else ""
    _check_same_benchmarks(name, evaluation.items, expected)
    _check_same_tests(name, evaluation, base)
    _check_same_arithmetic(name, evaluation, base)
    items = evaluation.items
    known = [key for key in expected if key in items]
    paired = {key: _paired(name, key, items[key], base.items[key]) for key in known}
    found = {key: _score(items[key], paired[key], whose) for key in known}
    return {key: found.get(key, NO_RESULT | {"reason": NOT_MEASURED}) for key in expected}


def _check_same_benchmarks(run: str, items: Items, expected: Sequence[Key]) -> None:
    differing = set(expected) ^ set(items)
    for key in sorted(key for key in differing if key[1] not in OPTIONAL_METRICS):
        who, other = ("θ0", f"run {run!r}") if key in items else (f"run {run!r}", "θ0")
        raise UserError(
            f"benchmark {key[0]!r} ({key[1]}): {other} was evaluated on it, {who} was not; "
            "evaluate both with the same 'evaluation.tasks' and domains"
        )


def _check_same_tests(run: str, evaluation: Evaluation, base: Evaluation) -> None:
    """Compare checksums: different questions can have the same ids and sizes."""
    for benchmark, _ in sorted(evaluation.items.keys() & base.items.keys()):
        ours, theirs = (e.record.test_sha256[benchmark] for e in (evaluation, base))
        if ours != theirs:
            raise UserError(
                f"benchmark {benchmark!r}: the items of run {run!r} (sha256 "
                f"{ours[:SHOWN_DIGITS]}...) differ from those of θ0 "
                f"({theirs[:SHOWN_DIGITS]}...), so the scores cannot be compared; delete the "
                f"outdated one of {evaluation.record.path} and {base.record.path}, and run the "
                "same command again"
            )


def _check_same_arithmetic(run: str, evaluation: Evaluation, base: Evaluation) -> None:
    """Compare dtypes: what they change may be larger than what a small learning rate does."""
    ours, theirs = (e.record.content.eval_info for e in (evaluation, base))
    if (ours.dtype, ours.weights) != (theirs.dtype, theirs.weights):
        raise UserError(
            f"run {run!r} was scored in {ours.dtype} with its weights {ours.weights}, θ0 in "
            f"{theirs.dtype} with its weights {theirs.weights}, so the scores cannot be compared; "
            f"delete the outdated one of {evaluation.record.path} and {base.record.path}, and run "
            "the same command again"
        )


def _paired(run: str, key: Key, scores: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """θ0's scores in the order of the run's, after checking that the items are the same."""
    counts = f"{len(scores)} items of run {run!r}, {len(base)} of θ0"
    problem = "are not the same items"
    if set(scores.index) == set(base.index):
        base = base.loc[scores.index]
        if (scores["size"] == base["size"]).all():
            return base
        problem = "differ in size (bytes or tokens)"
    raise UserError(
        f"benchmark {key[0]!r} ({key[1]}): {counts} {problem}; evaluate both again with the same "
        "limit in 'evaluation.tasks', the same data and the same seed"
    )


def _score(scores: pd.DataFrame, base: pd.DataFrame, whose: str) -> Row:
    size, cluster = scores["size"], scores["cluster"]
    value = ratio_estimate(scores["value"], size, cluster)
    difference = paired_difference(scores["value"], base["value"], size, cluster)
    return value._asdict() | {
        "difference": difference.value,
        "difference_stderr": difference.stderr,
        "reason": join_reasons([_broken(scores, whose), _broken(base, " of θ0")]),
    }


def _broken(scores: pd.DataFrame, whose: str) -> str:
    """Why the score of these items is NaN; empty if it is a number."""
    broken, n = scores.index[scores["value"].isna()], len(scores)
    if len(broken):
        return f"{len(broken)} of {n} items{whose} are not finite, e.g. item {min(broken)!r}"
    return "" if scores["size"].sum() else f"all {n} items{whose} have size 0"


def _warn(scores: pd.DataFrame, n_runs: int) -> None:
    is_missing = scores["reason"] == NOT_EVALUATED
    if len(missing := scores.loc[is_missing, "run"].unique()):
        text = "%d of %d runs are not evaluated; their scores are NaN: %s"
        logger.warning(text, len(missing), n_runs, listing(missing, limit=len(missing)))
    broken = scores[scores["value"].isna() & ~is_missing]
    for row in broken[["run", "benchmark", "metric", "reason"]].to_numpy():
        logger.warning("broken score (NaN): %s on %s, %s: %s", *row)
