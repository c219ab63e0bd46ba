"""The weight of the answer's tokens, measured before training: its table, and the warnings.

One row per model, domain and method that weighs tokens; ``training.answer_weights`` computes them.
A column that ends in ``_theta0`` or ``_form`` is of one state: before training, or once the form of
the responses has been learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sft_tradeoff.analysis.tables import Row, read_table, rows_of
from sft_tradeoff.system.text import listing

if TYPE_CHECKING:
    import pandas as pd

STATES = ("theta0", "form")
# kept: mean weight of the answer's tokens / of all tokens; starved: share of the answer's tokens
# below LEAST times the mean weight; shares: of all weight, and of all w·(1 − p).
OF_STATE = ("kept", "weight_share", "gradient_share", "sft_gradient_share", "starved", "tau")
COLUMNS = [
    *("model", "domain", "method", "label"),
    *("n_examples", "n_tokens", "n_answer_tokens", "answer_share"),
    *(f"{name}_{state}" for state in STATES for name in OF_STATE),
    "remedies",
]
LEAST = 0.1  # of the weight that SFT gives to the answer's tokens; with less, a method is warned of


def read_answer_weights(path: Path) -> pd.DataFrame:
    """Read the table of one model and domain.

    Raises:
        UserError: If it is missing, changed, damaged, or another table.
    """
    table = read_table(path, COLUMNS, "sft-tradeoff answer-weights")
    return table.fillna({"remedies": ""})


def warnings_of(table: pd.DataFrame) -> list[str]:
    """One sentence or two for each method that gives the answer too little weight."""
    return [text for row in rows_of(table) for text in _warning(row)]


def _warning(row: Row) -> Iterator[str]:
    kept = {state: row[f"kept_{state}"] for state in STATES}
    where = f"{row['label']} on {row['domain']} ({row['model']})"
    if not row["n_answer_tokens"]:
        return
    if any(map(math.isnan, kept.values())):
        yield f"{where}: every token weighs 0, so nothing is learned."
    elif min(kept.values()) < LEAST:
        remedy = f"an option that keeps more ({row['remedies']}), or " if row["remedies"] else ""
        yield (
            f"{where} gives the tokens of the answer {_percent(kept['theta0'])} of the weight "
            f"that standard SFT gives them, and {_percent(kept['form'])} once the form of the "
            "responses has been learned: it may learn everything but the answer. Try "
            f"{remedy}another method; rescaling all weights (`normalize`) changes nothing."
        )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def answer_weights_paragraph(paths: Iterable[Path]) -> str:
    """The paragraph of the recommendation; empty if no method is warned of."""
    found = [text for path in paths for text in warnings_of(read_answer_weights(path))]
    if not found:
        return ""
    lines = [f"- {text}" for text in found]
    return "\n".join(["**A method may starve the answer.** Measured before training:", "", *lines])


def unread(table: pd.DataFrame) -> str:
    """Say where no token of the answer was found; empty if there are some everywhere."""
    places = dict.fromkeys(
        f"{row['domain']} ({row['model']})" for row in rows_of(table) if not row["n_answer_tokens"]
    )
    return f"no token of the answer found: {listing(places)}" if places else ""
