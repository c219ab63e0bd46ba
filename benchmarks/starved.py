"""Set the weight of the answer before training beside what was then learned.

Reads the results of a finished study, by default ``starved``; trains nothing. A warning is right if
the method then learns less than standard SFT where that learns something.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from sft_tradeoff.analysis.answer_weights import LEAST, read_answer_weights
from sft_tradeoff.analysis.tables import BASE, read_over_seeds
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.system.console import UserError, run_main

HEADER = ["Domain", "Method", "Rate", "Kept, θ₀", "Kept, form", "Warned"]
SCORES = ["Accuracy", "SFT's", "θ₀'s", "NLL", "SFT's NLL"]


def lines(tradeoff: pd.DataFrame, weights: pd.DataFrame) -> list[list[str]]:
    """One line per method that weighs tokens and learning rate, the most starved first.

    Args:
        tradeoff: The trade-off over seeds.
        weights: The tables of all models and domains.
    """
    place = ["model", "domain"]
    wanted = ["domain_score", "domain_nll"]
    base = tradeoff[tradeoff["method"] == BASE].set_index(place)[wanted]
    sft = tradeoff[tradeoff["method"] == "sft"].set_index([*place, "learning_rate"])[wanted]
    merged = weights.merge(tradeoff, on=[*place, "method", "label"])
    merged["kept"] = merged[["kept_theta0", "kept_form"]].min(axis="columns")
    return [_line(row, sft, base) for row in merged.sort_values("kept").to_dict(orient="records")]


def _line(row: dict[Any, Any], sft: pd.DataFrame, base: pd.DataFrame) -> list[str]:
    at_rate = (row["model"], row["domain"], row["learning_rate"])
    found = [row["domain_score"], float("nan"), base.loc[at_rate[:2], "domain_score"]]
    losses = [row["domain_nll"], float("nan")]
    if at_rate in sft.index:
        found[1], losses[1] = sft.loc[at_rate, "domain_score"], sft.loc[at_rate, "domain_nll"]
    return [
        row["domain"],
        row["label"],
        format_learning_rate(row["learning_rate"]),
        *(f"{row[name]:.1%}" for name in ("kept_theta0", "kept_form")),
        "yes" if row["kept"] < LEAST else "",
        *(f"{value:.3f}" for value in (*found, *losses)),
    ]


def main() -> None:
    """Print the table of one study."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--results", type=Path, default=Path("results/starved"), help="default: %(default)s"
    )
    folder = parser.parse_args().results
    with run_main("starved"):
        paths = sorted(folder.glob("answer_weights/*.csv"))
        if not paths:
            raise UserError(
                f"{folder}: no answer_weights/*.csv; run make study STUDY=starved first"
            )
        weights = pd.concat(map(read_answer_weights, paths))
        tradeoff = read_over_seeds(folder / "tradeoff_over_seeds.csv")
        print(markdown_table([*HEADER, *SCORES], lines(tradeoff, weights), n_left=3))


if __name__ == "__main__":
    main()
