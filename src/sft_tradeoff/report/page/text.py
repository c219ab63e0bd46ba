"""Text of the project as HTML: Markdown pages, and JSON inside a script element.

Raw HTML in Markdown is shown as text: names of data and models come from users.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

TOP_LEVEL = 1


def to_html(text: str, lower: int = 0) -> Markup:
    """Render Markdown with tables; those scroll sideways where the page is narrow.

    Args:
        text: Markdown. A heading of the first level is left out: the page has its own.
        lower: How many levels the other headings are moved down.
    """
    lines = [line for line in text.splitlines() if not line.startswith("# ")]
    renderer = _renderer()
    tokens = renderer.parse("\n".join(lines))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + lower)}"
    return Markup(renderer.renderer.render(tokens, renderer.options, {}))


def inline_html(text: str) -> Markup:
    """Render Markdown without paragraphs."""
    return Markup(_renderer().renderInline(text))


def _renderer() -> MarkdownIt:
    found = MarkdownIt("commonmark", {"html": False}).enable("table")
    found.disable(["image", "autolink"])
    found.add_render_rule("table_open", _open_table)
    found.add_render_rule("table_close", _close_table)
    return found


def _open_table(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table>\n'


def _close_table(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return "</table></div>\n"


def script_json(data: Any) -> Markup:
    """Data as JSON that no text in it can end: ``<`` is written as an escape; NaN is null."""
    text = json.dumps(_strict(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
