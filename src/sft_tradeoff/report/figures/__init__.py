"""Figures: one module each, with ``draw(table) -> (figure, numbers drawn)``, in a common style."""

from pkgutil import iter_modules

NOT_FIGURES = {"draw", "style"}
FIGURES = sorted({module.name for module in iter_modules(__path__)} - NOT_FIGURES)
