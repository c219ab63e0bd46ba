"""Write the trade-off tables as Markdown, LaTeX and CSV, or print them.

One block per model and domain: θ0 first, then every method at every learning rate. Nothing is
computed here, but this is the only place where numbers are rounded.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sft_tradeoff.analysis.tables import BASE, SETTING, missing_settings, read_over_seeds
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import atomic_write_text

if TYPE_CHECKING:
    import pandas as pd

# Quantity -> heading, decimals. Differences in code length are small: they get a fourth decimal.
COLUMNS = {
    "domain_score": ("Domain accuracy", 3),
    "domain_nll": ("Domain NLL", 3),
    "general_score": ("General accuracy", 3),
    "general_score_difference": ("Δ general accuracy", 3),
    "general_bits_per_byte_difference": ("Δ bits per byte", 4),
}
DASH = "–"
CAPTION = (
    "Value ± standard error; accuracies are fractions, NLL is in nats per token. Δ is the change "
    "against θ₀ on the same items (paired). Smaller NLL and Δ bits per byte are better."
)
LATEX = {character: rf"\{character}" for character in "_&%#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "θ₀": r"$\theta_0$",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "−": "$-$",
    DASH: "--",
}


def cell(value: float, stderr: float, decimals: int) -> str:
    """Format ``value ± stderr``; a missing value is a dash, a missing error is left out."""
    if math.isnan(value):
        return DASH
    # Small negative values round to -0.0; adding zero gives 0.0.
    text = f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")
    return text if math.isnan(stderr) else f"{text} ± {stderr:.{decimals}f}"


def blocks(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield title and formatted rows for each model and domain, θ0 first.

    Args:
        table: The trade-off over seeds, see :mod:`sft_tradeoff.analysis.aggregate`.
    """
    import pandas as pd

    for model, of_model in table.groupby("model", sort=False):
        for domain, rows in of_model.groupby("domain", sort=False):
            is_base = rows["method"] == BASE
            ordered = pd.concat([rows[is_base], rows[~is_base]])
            yield f"{model}, {domain}", _format(ordered)


def _format(rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rates = rows["learning_rate"]
    columns = {
        "Method": rows["label"].mask(rows["method"] == BASE, "θ₀").tolist(),
        "Learning rate": ["" if math.isnan(rate) else format_learning_rate(rate) for rate in rates],
    }
    for quantity, (heading, decimals) in COLUMNS.items():
        pairs = zip(rows[quantity], rows[f"{quantity}_stderr"], strict=True)
        columns[heading] = [cell(value, stderr, decimals) for value, stderr in pairs]
    return pd.DataFrame(columns)


def footnotes(table: pd.DataFrame) -> list[str]:
    """Notes under the tables: units, number of seeds, and why scores are missing."""
    notes = [CAPTION]
    if (seeds := int(table["n_seeds"].max())) > 1:
        notes.append(
            f"Means over {seeds} seeds; the standard errors include the spread between seeds."
        )
    return notes + _gaps(table)


def _gaps(table: pd.DataFrame) -> list[str]:
    """One note per reason, with the settings that share it."""
    settings: dict[str, list[str]] = {}
    for name, reason in missing_settings(table, list(COLUMNS)).items():
        settings.setdefault(reason.replace("θ0", "θ₀"), []).append(name)
    return [f"{DASH} {'; '.join(names)}: {reason}." for reason, names in settings.items()]


def to_markdown(table: pd.DataFrame) -> str:
    """Render all blocks as GitHub-flavored Markdown."""
    parts = []
    for title, rows in blocks(table):
        parts.append(f"### {title}\n\n{markdown_table([*rows.columns], rows.to_numpy(), n_left=2)}")
    return "\n\n".join([*parts, *footnotes(table)]) + "\n"


def to_latex(table: pd.DataFrame) -> str:
    """Render one ``table`` environment per block; the document needs the package booktabs."""
    notes = latex(" ".join(footnotes(table)))
    parts = ["% Needs \\usepackage{booktabs}."]
    for title, rows in blocks(table):
        styler = rows.map(latex).rename(columns=_latex_heading).style.hide(axis="index")
        lines = styler.to_latex(
            column_format="ll" + "r" * len(COLUMNS),
            position="htbp",
            position_float="centering",
            hrules=True,
            caption=f"{latex(title)}. {notes}",
            label=f"tab:tradeoff-{title.replace(', ', '-')}",
        ).splitlines()
        lines.insert(lines.index(r"\centering") + 1, r"\footnotesize\setlength{\tabcolsep}{4pt}")
        lines.insert(lines.index(r"\midrule") + 2, r"\midrule")  # below θ₀
        parts += lines
    return "\n".join(parts) + "\n"


def latex(text: str) -> str:
    """Escape text for LaTeX; the symbols used here become commands."""
    return re.sub("|".join(map(re.escape, LATEX)), lambda match: LATEX[match[0]], text)


def _latex_heading(heading: str) -> str:
    """Break a heading into two lines, so that seven columns fit the text width."""
    first, _, last = heading.rpartition(" ")
    return rf"\shortstack[l]{{{latex(first)} \\ {latex(last)}}}" if first else latex(last)


def to_text(table: pd.DataFrame) -> str:
    """Render all blocks aligned for a terminal."""
    parts = [f"{title}\n{rows.to_string(index=False)}" for title, rows in blocks(table)]
    return "\n\n".join([*parts, *footnotes(table)])


def to_csv(table: pd.DataFrame) -> str:
    """Render the rounded numbers as CSV; ``reason`` says why a number is missing."""
    rounded = table[[*SETTING, "n_seeds"]].copy()
    for quantity, (_, decimals) in COLUMNS.items():
        for name in (quantity, f"{quantity}_stderr"):
            rounded[name] = [round(value, decimals) for value in table[name]]
    rounded["reason"] = table["reason"]
    return rounded.to_csv(index=False, lineterminator="\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff tables``."""
    parser.add_argument("--tradeoff", type=Path, required=True, help="tradeoff_over_seeds.csv")
    parser.add_argument("--out-dir", type=Path, help="folder for tradeoff.md, .tex and .csv")
    parser.add_argument(
        "--show", nargs="*", metavar="PATH", help="print the table, then these paths as results"
    )


def main(args: argparse.Namespace) -> None:
    """Write the tables, print them, or both."""
    with run_main("tables"):
        if args.out_dir is None and args.show is None:
            raise UserError("nothing to do; give --out-dir, --show or both")
        table = read_over_seeds(args.tradeoff)
        if args.out_dir is not None:
            for render, suffix in ((to_markdown, "md"), (to_latex, "tex"), (to_csv, "csv")):
                atomic_write_text(args.out_dir / f"tradeoff.{suffix}", render(table))
        if args.show is not None:
            print("\n".join([to_text(table), *(["", "Results:"] if args.show else []), *args.show]))
