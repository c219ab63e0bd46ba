"""Tables of the keys of a study file, written to ``config/keys.md`` from the settings' models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.config import Study

KEYS_PATH = Path("config/keys.md")
_HEADER = """# Keys of a study file

Written by `sft-tradeoff check --write-schema` from the code that checks study files; do not edit.
The keys at the top of a study file are in [README.md](README.md).
"""
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
_TYPES = {"string": "text", "boolean": "`true`, `false`", "object": "mapping", "null": "`null`"}


def key_tables() -> str:
    """Markdown: one table per part of a study file, and one per method with options."""
    schema = Study.model_json_schema()
    text = _HEADER
    for key, field in schema["properties"].items():
        place = key + {"array": "[]", "object": ".<name>"}.get(field.get("type", ""), "")
        parts = [_rows(schema["$defs"][name]) for name in _references(field)]
        shared = [row for row in next(iter(parts), []) if all(row in part for part in parts)]
        text += _table(f"`{place}`", shared)
        for kind, *rows in parts:  # what tells the kinds of domains and assets apart comes first
            own = [row for row in rows if row not in shared]
            text += _table(f"`{place}` with {kind[0]}: {kind[1]}", own) if len(parts) > 1 else ""
        for name in _references(field):
            for inner, part in schema["$defs"][name].get("properties", {}).items():
                for found in _references(part):
                    text += _table(f"`{place}.{inner}`", _rows(schema["$defs"][found]))
    for name, method in METHODS.items():
        text += _table(f"`options` of `{name}`", _rows(method.options.model_json_schema()))
    return text


def _references(node: Any) -> Iterator[str]:
    """Names of the definitions that a part of a JSON schema refers to, in order."""
    if isinstance(node, Mapping):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        node = list(node["oneOf"] if "oneOf" in node else node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


def _rows(part: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Key, values, default and meaning of each property."""
    rows: list[tuple[str, ...]] = []
    for key, field in part["properties"].items():
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        default = "required" if key in part.get("required", ()) else default
        rows.append((f"`{key}`", _values(field), default, field.get("description", "")))
    return rows


def _table(title: str, rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [("key", "values", "default", "meaning"), ("---",) * 4, *rows]
    cells = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join([f"\n## {title}\n", *(f"| {' | '.join(line)} |" for line in cells), ""])


def _values(field: Mapping[str, Any]) -> str:
    """What a field accepts, in words."""
    if "anyOf" in field:
        return " or ".join(_values(choice) for choice in field["anyOf"])
    if "const" in field or "enum" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = field.get("type", "object" if "$ref" in field else "any")
    if kind == "array":
        return f"list of {_values(field.get('items', {}))}" if "items" in field else "list"
    bounds = [f"{sign} {field[name]:g}" for name, sign in _BOUNDS.items() if name in field]
    return f"{_TYPES.get(kind, kind)} {', '.join(bounds)}".rstrip()
