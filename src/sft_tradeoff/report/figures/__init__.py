"""One module per figure, with ``draw(table) -> (figure, numbers drawn)``, all in one style."""

from pkgutil import iter_modules

NOT_FIGURES = {"draw", "style"}
FIGURES = sorted({module.name for module in iter_modules(__path__)} - NOT_FIGURES)
