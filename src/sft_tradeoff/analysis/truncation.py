"""Responses that were cut off: what the recommendation says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sft_tradeoff.analysis.scores import rows_of
from sft_tradeoff.system.files import read_json


@dataclass(frozen=True)
class Cut:
    """How many responses of one split lost their end.

    Args:
        model: Model whose tokens were counted.
        domain: Domain.
        split: ``train`` or ``test``.
        n_truncated: Responses that lost their end.
        n_examples: All of the split.
    """

    model: str
    domain: str
    split: str
    n_truncated: int
    n_examples: int

    def __str__(self) -> str:
        """Say what it means for the results."""
        share = (
            f"{self.n_truncated} of {self.n_examples} ({self.n_truncated / self.n_examples:.0%})"
        )
        what = (
            "the model has not learned how they continue and end"
            if self.split == "train"
            else "the losses cover only what is left"
        )
        return (
            f"- {self.model}, {self.domain}: {share} {self.split} responses do not fit into "
            f"`training.max_length` and were cut: {what}."
        )


def read_cuts(runs: pd.DataFrame, folder: Path) -> list[Cut]:
    """Find the responses that were cut in a study; empty where all are whole.

    Args:
        runs: The run table, θ0 included.
        folder: Holds ``<run>/eval.json`` and ``train.json``.
    """
    cuts = {}
    for run in rows_of(runs):
        model = str(run["model"])
        training = _info(folder / run["run"] / "train.json", "train_info")
        if n_cut := training.get("n_truncated"):
            cut = Cut(model, str(run["domain"]), "train", n_cut, training["n_examples"])
            cuts[model, cut.domain, cut.split] = cut
        evaluation = _info(folder / run["run"] / "eval.json", "eval_info")
        for domain, n_cut in evaluation.get("n_truncated", {}).items():
            if n_cut:
                n_items = evaluation["tasks"][f"domain_{domain}"]["n_items"]
                cuts[model, domain, "test"] = Cut(model, domain, "test", n_cut, n_items)
    return [cuts[key] for key in sorted(cuts)]


def paragraph(cuts: Sequence[Cut]) -> str:
    """What the page says of them; empty where all responses are whole."""
    if not cuts:
        return ""
    return "**Some responses were cut off.**\n\n" + "\n".join(map(str, cuts))


def record(cuts: Sequence[Cut]) -> dict[str, Any]:
    """What the page's JSON says of them; empty where all responses are whole."""
    return {"truncated": [asdict(cut) for cut in cuts]} if cuts else {}


def _info(path: Path, part: str) -> dict[str, Any]:
    if not path.is_file():
        return {}
    info: dict[str, Any] = read_json(path).get(part, {})
    return info
