"""The table of per-item scores, ``items.parquet``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from sft_tradeoff.evaluation.tasks import Task
    from sft_tradeoff.suite.base import Row

COLUMNS = ["benchmark", "item", "metric", "value", "size", "cluster"]


def item_table(rows: Iterable[Row], tasks: Sequence[Task]) -> pd.DataFrame:
    """One row per item and metric; scores that are not finite are NaN.

    Args:
        rows: Scores of all items.
        tasks: What was asked; they know the clusters of their items. An item of anything else is a
            cluster of its own.

    Returns:
        The columns :data:`COLUMNS`. ``cluster`` is the independent unit of an item: its own id, or
        the name of what it shares with others of the benchmark (a passage, a query, a template).
    """
    cluster_of = {task.label: task.clusters for task in tasks}
    frame = pd.DataFrame(
        [(*row, cluster_of.get(row[0], {}).get(row[1], row[1])) for row in rows], columns=COLUMNS
    )
    return frame.replace([math.inf, -math.inf], math.nan)
