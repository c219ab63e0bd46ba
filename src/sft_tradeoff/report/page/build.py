"""Put the page together: one HTML file with its style, its scripts and its data inside."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import sft_tradeoff
from sft_tradeoff.report.page.library import javascript, versions
from sft_tradeoff.report.page.study import StudyPage
from sft_tradeoff.report.page.text import script_json
from sft_tradeoff.system.console import UserError

MAX_BYTES = 4_000_000
SCRIPTS = ("rule.js", "chart.js", "panels.js", "explorer.js")


def render(studies: Sequence[StudyPage]) -> str:
    """Return the page.

    Args:
        studies: At least one.

    Raises:
        UserError: If it would be larger than :data:`MAX_BYTES`.
    """
    environment = Environment(
        loader=PackageLoader("sft_tradeoff.report.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        studies=studies,
        data=script_json({"studies": [study.data for study in studies]}),
        style=Markup(_file("page.css")),
        library=Markup(javascript()),
        script=Markup("\n".join(map(_file, SCRIPTS))),
        version=f"sft-tradeoff {sft_tradeoff.__version__}",
        versions=versions(),
    )
    if (size := len(page.encode())) > MAX_BYTES:
        raise UserError(
            f"the page of {', '.join(s.name for s in studies)} takes {size / 1e6:.1f} MB, more "
            f"than {MAX_BYTES / 1e6:.0f}; name fewer studies"
        )
    return page


def _file(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
