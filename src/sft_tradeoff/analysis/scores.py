"""Every score of every run: its evaluation read, and compared with θ0's item by item.

Scores that cannot be paired are an error, because θ0 and run were then asked different things. A
score that some item broke is NaN, with the reason beside it, and costs no other.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from sft_tradeoff.stats import paired_difference, ratio_estimate
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import read_json, verify_checksum
from sft_tradeoff.system.text import listing

logger = logging.getLogger(__name__)

TEXT = {name: "str" for name in ("run", "model", "domain", "method", "label")}
NUMBERS = {"learning_rate": "float64", "seed": "Int64"}
ITEM_COLUMNS = ["benchmark", "item", "metric", "value", "size"]
RESULT = ["value", "stderr", "n", "difference", "difference_stderr", "reason"]
SCORE_COLUMNS = [*TEXT, *NUMBERS, "benchmark", "metric", *RESULT]

Key = tuple[str, str]  # (benchmark, metric)
Items = dict[Key, pd.DataFrame]  # per key: value and size, indexed by item
Row = dict[str, Any]
NOT_EVALUATED = "run not evaluated"
NO_RESULT: Row = dict.fromkeys(RESULT, math.nan) | {"n": 0, "reason": NOT_EVALUATED}
SHOWN_DIGITS = 12  # of a hash, in messages


class Evaluation(NamedTuple):
    """What one checkpoint scored, and on which items.

    Args:
        record: Path of its ``eval.json``.
        items: The per-item scores.
        test_sha256: Benchmark or domain -> hash of the file that its items come from.
    """

    record: Path
    items: Items
    test_sha256: dict[str, str]


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Rows as dictionaries, by column."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def domains_of(runs: pd.DataFrame) -> list[str]:
    """Domains that the runs of one model were trained on."""
    return [str(domain) for domain in runs["domain"].dropna().unique()]


def own_domains(run: Row, domains: list[str]) -> list[str]:
    """θ0 is evaluated on every domain, a run on its own."""
    return domains if pd.isna(run["domain"]) else [run["domain"]]


def join_reasons(reasons: Iterable[str]) -> str:
    """All that is wrong, once each; empty if nothing is."""
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def score_table(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Score every run on every benchmark, and against θ0 item by item.

    A run without an evaluation gets NaN rows and is listed in a warning.

    Args:
        runs: The run table, θ0 included (method ``base``).
        folder: Holds ``<run>/eval.json`` and ``<run>/items.parquet``.

    Raises:
        UserError: If θ0 is missing, or was evaluated on other items than a run.
    """
    rows: list[Row] = []
    for model, group in runs.groupby("model", sort=False):
        base = _read_base(str(model), group, folder)
        domains = domains_of(group)
        for run in rows_of(group):
            expected = _expected(run, base.items, domains)
            results = dict.fromkeys(expected, NO_RESULT)
            if evaluation := read_evaluation(folder / run["run"]):
                results = _score_run(run, evaluation, base, expected)
            for (benchmark, metric), result in results.items():
                rows.append(run | {"benchmark": benchmark, "metric": metric} | result)
    scores = pd.DataFrame(rows, columns=SCORE_COLUMNS).astype({"seed": "Int64"})
    _warn(scores, len(runs))
    return scores


# --- reading ------------------------------------------------------------------------------------


def read_evaluation(folder: Path) -> Evaluation | None:
    """Read what an evaluation wrote; None if there is none, or it did not end.

    Raises:
        UserError: If it is damaged, does not say which items it scored, or scored one twice.
    """
    record, path = folder / "eval.json", folder / "items.parquet"
    if not (record.is_file() and path.is_file()):
        return None
    items = _read_items(path)
    hashes = read_json(record)["meta_info"].get("test_sha256", {})
    for benchmark, _ in items:
        if benchmark not in hashes:
            raise UserError(
                f"{record}: meta_info.test_sha256 lacks {benchmark!r}, so nobody knows which items "
                "were scored; delete this file and run the same command again"
            )
    return Evaluation(record, items, hashes)


def _read_items(path: Path) -> Items:
    """Per-item scores by (benchmark, metric); infinite ones are NaN."""
    verify_checksum(path)
    frame = pd.read_parquet(path).replace([math.inf, -math.inf], math.nan)
    if lacking := [name for name in ITEM_COLUMNS if name not in frame]:
        raise UserError(f"{path}: no column {', '.join(lacking)}; evaluate this run again")
    twice = frame[frame.duplicated(["benchmark", "metric", "item"])]
    if len(twice):
        benchmark, item, metric = twice.iloc[0][ITEM_COLUMNS[:3]]
        raise UserError(
            f"{path}: {benchmark}, {metric}: item {item!r} appears twice; give the benchmark's "
            "items unique ids and evaluate this run again"
        )
    groups = frame.groupby(["benchmark", "metric"])
    return {
        (str(benchmark), str(metric)): group.set_index("item")[["value", "size"]]
        for (benchmark, metric), group in groups
    }


def _read_base(model: str, runs: pd.DataFrame, folder: Path) -> Evaluation:
    """Scores of θ0, without which nothing can be compared."""
    names = runs.loc[runs["method"] == "base", "run"].tolist()
    base = read_evaluation(folder / names[0]) if names else None
    if base is None:
        where = folder / names[0] if names else "not in the run table"
        raise UserError(
            f"model {model!r}: θ0 is not evaluated ({where}), so no run can be compared with it; "
            "evaluate it first"
        )
    return base


# --- comparing ----------------------------------------------------------------------------------


def _expected(run: Row, base: Items, domains: list[str]) -> list[Key]:
    """What a run is scored on: its own domains and the general suite."""
    own = own_domains(run, domains)
    return [key for key in base if key[0] in own or key[0] not in domains]


def _score_run(
    run: Row, evaluation: Evaluation, base: Evaluation, expected: Sequence[Key]
) -> dict[Key, Row]:
    name, whose = run["run"], " of θ0" if run["method"] == "base" else ""
    _check_same_benchmarks(name, evaluation.items, expected)
    _check_same_tests(name, evaluation, base)
    items = evaluation.items
    paired = {key: _paired(name, key, items[key], base.items[key]) for key in expected}
    return {key: _score(items[key], paired[key], whose) for key in expected}


def _check_same_benchmarks(run: str, items: Items, expected: Sequence[Key]) -> None:
    for key in sorted(set(expected) ^ set(items)):
        who, other = ("θ0", f"run {run!r}") if key in items else (f"run {run!r}", "θ0")
        raise UserError(
            f"benchmark {key[0]!r} ({key[1]}): {other} was evaluated on it, {who} was not; "
            "evaluate both with the same 'evaluation.tasks' and domains"
        )


def _check_same_tests(run: str, evaluation: Evaluation, base: Evaluation) -> None:
    """Items of two files can have the same ids and sizes, and still be other questions."""
    for benchmark, _ in evaluation.items:
        ours, theirs = evaluation.test_sha256[benchmark], base.test_sha256[benchmark]
        if ours != theirs:
            raise UserError(
                f"benchmark {benchmark!r}: the items of run {run!r} (sha256 "
                f"{ours[:SHOWN_DIGITS]}...) are not those of θ0 ({theirs[:SHOWN_DIGITS]}...), so "
                "no difference can be taken; delete the outdated one of "
                f"{evaluation.record} and {base.record}, and run the same command again"
            )


def _paired(run: str, key: Key, scores: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """θ0's scores in the order of the run's, once sure that they are of the same items."""
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
    value = ratio_estimate(scores["value"], scores["size"])
    difference = paired_difference(scores["value"], base["value"], scores["size"])
    return value._asdict() | {
        "difference": difference.value,
        "difference_stderr": difference.stderr,
        "reason": join_reasons([_broken(scores, whose), _broken(base, " of θ0")]),
    }


def _broken(scores: pd.DataFrame, whose: str) -> str:
    """Why the score of these items is NaN; empty if it is not."""
    broken, n = scores.index[scores["value"].isna()], len(scores)
    if len(broken):
        return f"{len(broken)} of {n} items{whose} are not finite, e.g. item {min(broken)!r}"
    return "" if scores["size"].sum() else f"all {n} items{whose} have size 0"


def _warn(scores: pd.DataFrame, n_runs: int) -> None:
    is_missing = scores["reason"] == NOT_EVALUATED
    if len(missing := scores.loc[is_missing, "run"].unique()):
        text = "%d of %d runs are not evaluated; their scores are NaN: %s"
        logger.warning(text, len(missing), n_runs, listing(missing))
    broken = scores[scores["value"].isna() & ~is_missing]
    for row in broken[["run", "benchmark", "metric", "reason"]].to_numpy():
        logger.warning("broken score (NaN): %s on %s, %s: %s", *row)
