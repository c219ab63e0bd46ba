"""Responses that were truncated at ``training.max_length``, as the recommendation reports them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.analysis.run_records import evaluation_record, training_record
from sft_tradeoff.analysis.tables import rows_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Truncation:
    """How many responses of one split were truncated.

    Args:
        model: Model whose tokens were counted.
        domain: Domain.
        split: ``train`` or ``test``.
        n_truncated: Truncated responses, > 0.
        n_examples: Examples of the split.
    """

    model: str
    domain: str
    split: str
    n_truncated: int
    n_examples: int

    def __str__(self) -> str:
        """What it means for the results, as an item of a Markdown list."""
        share = (
            f"{self.n_truncated} of {self.n_examples} ({self.n_truncated / self.n_examples:.0%})"
        )
        effect = (
            "the model never saw how they end"
            if self.split == "train"
            else "their losses cover only the part that was kept"
        )
        return (
            f"- {self.model}, {self.domain}: {share} {self.split} responses are longer than "
            f"`training.max_length` and were truncated: {effect}."
        )


def find_truncations(runs: pd.DataFrame, folder: Path) -> list[Truncation]:
    """Find the splits of a study with truncated responses; empty if there are none.

    Args:
        runs: The run table, θ0 included.
        folder: Holds ``<run>/eval.json`` and ``train.json``.
    """
    found = {}
    for run in rows_of(runs):
        model = str(run["model"])
        training = training_record(folder / run["run"])
        if training and training.n_truncated:
            domain = str(run["domain"])
            found[model, domain, "train"] = (training.n_truncated, training.n_examples)
        evaluation = evaluation_record(folder / run["run"])
        for domain, n in (evaluation.n_truncated if evaluation else {}).items():
            if evaluation and n:
                found[model, domain, "test"] = (n, evaluation.n_items(domain))
    return [Truncation(*split, *counts) for split, counts in sorted(found.items())]


def paragraph(truncations: Sequence[Truncation]) -> str:
    """The paragraph of the page; empty if nothing was truncated."""
    if not truncations:
        return ""
    return "**Some responses were truncated.**\n\n" + "\n".join(map(str, truncations))


def record(truncations: Sequence[Truncation]) -> dict[str, Any]:
    """The entry of the page's JSON; empty if nothing was truncated."""
    return {"truncated": [asdict(found) for found in truncations]} if truncations else {}
