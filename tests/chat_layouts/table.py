"""The table in docs/chat_layouts.md."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chat_layouts.layouts import LAYOUTS

TABLE = Path(__file__).resolve().parents[2] / "docs" / "chat_layouts.md"


def table() -> str:
    """Markdown table of all layouts."""
    lines = ["| family, template | learned for the answer `ok` | note |", "|---|---|---|"]
    for layout in LAYOUTS:
        # In Markdown a pipe ends a cell, even within code.
        learned = json.dumps(layout.learned, ensure_ascii=False)[1:-1].replace("|", r"\|")
        lines.append(f"| {layout.family} | `{learned}` | {layout.note} |")
    return "\n".join([*lines, ""])
