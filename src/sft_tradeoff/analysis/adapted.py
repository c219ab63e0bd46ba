"""How much of a model the adapters of a method reached, as the recommendation reports it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sft_tradeoff.analysis.run_records import training_record
from sft_tradeoff.analysis.tables import rows_of

if TYPE_CHECKING:
    import pandas as pd


def adapted_paragraph(runs: pd.DataFrame, folder: Path) -> str:
    """The paragraph of the page; empty if every method trains all weights.

    Args:
        runs: The run table, θ0 included.
        folder: Holds ``<run>/train.json``.
    """
    found: dict[str, None] = {}  # keeps the order of the table
    for run in rows_of(runs):
        training = training_record(folder / run["run"])
        if training and training.adapted_share < 1:
            share = f"{training.adapted_share:.0%}"
            found[f"- {run['method']} on {run['model']}: layers with {share} of the weights."] = (
                None
            )
    if not found:
        return ""
    text = "**Adapters do not reach all weights**; the others stay those of θ₀."
    return "\n".join([text, "", *found])
