"""Tables of the keys of a study file, written to ``config/keys.md`` from the settings' models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
    parts = [_HEADER]
    for key, field in schema["properties"].items():
        place = key + {"array": "[]", "object": ".<name>"}.get(field.get("type", ""), "")
        for name in _references(field):
            part = schema["$defs"][name]
            kinds = (
                f", `{k}: {f['const']}`" for k, f in part["properties"].items() if "const" in f
            )
            parts.append(f"## `{place}`{''.join(kinds)}\n\n{_table(part)}")
    for name, method in METHODS.items():
        options = method.options.model_json_schema()
        if options["properties"]:
            parts.append(f"## `options` of `{name}`\n\n{_table(options)}")
    return "\n".join(parts)


def _references(node: Any) -> Iterator[str]:
    """Names of the definitions that a part of a JSON schema refers to, in order."""
    if isinstance(node, Mapping):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        node = list(node["oneOf"] if "oneOf" in node else node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


def _table(part: Mapping[str, Any]) -> str:
    rows = [("key", "values", "default", "meaning"), ("---",) * 4]
    required = part.get("required", ())
    for key, field in part["properties"].items():
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        default = "required" if key in required else default
        rows.append((f"`{key}`", _values(field), default, field.get("description", "")))
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows
    )


def _values(field: Mapping[str, Any]) -> str:
    """What a field accepts, in words."""
    if "anyOf" in field:
        return " or ".join(_values(choice) for choice in field["anyOf"])
    if "const" in field or "enum" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = field.get("type", "any")
    if kind == "array":
        return f"list of {_values(field.get('items', {}))}" if "items" in field else "list"
    bounds = [f"{sign} {field[name]:g}" for name, sign in _BOUNDS.items() if name in field]
    return f"{_TYPES.get(kind, kind)} {', '.join(bounds)}".rstrip()
