"""Figures: one module each, with ``draw(table) -> (figure, numbers drawn)``, in a common style."""

from collections.abc import Iterable
from pkgutil import iter_modules

NOT_FIGURES = {"draw", "style"}
FIGURES = sorted({module.name for module in iter_modules(__path__)} - NOT_FIGURES)
# Figures drawn from another table than the trade-off over seeds; not all studies have it.
OF_TOKENS = ("token_change", "token_curriculum", "token_paths", "token_probability")
OTHER_TABLES = {
    "epochs": "epochs.csv",
    "tau": "talr_options.csv",
    **{name: f"{name}.csv" for name in OF_TOKENS},
}


def table_of(figure: str) -> str:
    """File name of the table that a figure is drawn from."""
    return OTHER_TABLES.get(figure, "tradeoff_over_seeds.csv")


def drawable(tables: Iterable[str]) -> list[str]:
    """Figures that can be drawn from tables with these file names."""
    names = set(tables)
    return [figure for figure in FIGURES if table_of(figure) in names]
