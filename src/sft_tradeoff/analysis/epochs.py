"""Scores of the weights at the end of every epoch, on the validation examples."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sft_tradeoff.analysis.run_records import Epoch, read_item_table, training_record
from sft_tradeoff.analysis.tables import BASE, EPOCH_COLUMNS, LEVEL, Row, rows_of
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.stats.estimates import (
    confidence_interval,
    effective_n,
    ratio_estimate,
    wilson_interval,
)
from sft_tradeoff.system.files import damaged

ITEMS_NAME = "epochs.parquet"


def read_epochs(folder: Path) -> tuple[list[Epoch], pd.DataFrame] | None:
    """Read the scores of every epoch of a run.

    Returns:
        The records of its epochs, and the scores of each item with the columns epoch, item, metric,
        value, size and cluster; None if it is not trained yet or keeps its last weights.

    Raises:
        UserError: If the file is damaged, or has other epochs than ``train.json``.
    """
    record, path = training_record(folder), folder / ITEMS_NAME
    if record is None or not record.epochs or not path.is_file():
        return None
    items = read_item_table(path, "epoch")
    if items["epoch"].unique().tolist() != [epoch.epoch for epoch in record.epochs]:
        raise damaged(path, f"it has other epochs than {record.path}")
    return record.epochs, items


def epoch_table(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """One row per run and epoch: validation score and NLL with their 95 % intervals.

    The intervals are as in the trade-off: Wilson's for the score, Student's for the NLL. A run that
    is not trained yet has one row without scores; averages of weights have none.

    Args:
        runs: The run table.
        folder: Holds ``<run>/train.json`` and ``<run>/epochs.parquet``.
    """
    rows: list[Row] = []
    for run in rows_of(runs):
        if run["method"] != BASE and METHODS[run["method"]].merge is None:
            found = read_epochs(folder / run["run"])
            rows += [run | row for row in _measure(*found)] if found else [run]
    types = {"seed": "Int64", "step": "Int64", "n_items": "Int64", "selected": "boolean"}
    return pd.DataFrame(rows, columns=EPOCH_COLUMNS).astype(types)


def _measure(epochs: list[Epoch], items: pd.DataFrame) -> list[Row]:
    rows = []
    for epoch in epochs:
        row: Row = {name: getattr(epoch, name) for name in ("epoch", "step", "n_items", "selected")}
        for quantity, metric in (("domain_score", "accuracy"), ("domain_nll", "nll")):
            of = items[(items["epoch"] == epoch.epoch) & (items["metric"] == metric)]
            found = ratio_estimate(of["value"], of["size"], of["cluster"])
            low, high = confidence_interval(found, LEVEL)
            if metric == "accuracy":
                n = effective_n(found)
                low, high = wilson_interval(found.value * n, n, LEVEL)
            row |= {quantity: found.value, f"{quantity}_low": low, f"{quantity}_high": high}
        rows.append(row)
    return rows
