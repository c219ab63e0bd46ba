"""Validation errors as lines of "key: value: fix", with a guess at what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from sft_tradeoff.system.console import UserError

LOWER, UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


class ConfigError(UserError, ValueError):
    """A setting is wrong; the message names file, key, value and fix."""


def closest(value: str, known: Iterable[str]) -> str:
    """Suggest the most similar name, or list them all."""
    known = sorted(known)
    if not known:
        return "there are none; remove it"
    match = difflib.get_close_matches(value, known, n=1)
    return f"did you mean {match[0]!r}?" if match else f"choose one of {', '.join(known)}"


def as_written(value: Any) -> str:
    """A value as messages show it: what YAML calls null is not called None."""
    return "null" if value is None else repr(value)


def explain(error: ValidationError, schema: dict[str, Any]) -> str:
    """Turn each of pydantic's errors into one line.

    Args:
        error: The errors.
        schema: JSON schema of the validated model, which has the allowed keys.
    """
    found = error.errors()
    # A list whose items are all wrong is also "too short", which would only mislead.
    causes = [item for item in found if item["type"] != "too_short"]
    return "\n  ".join(_line(dict(item), schema) for item in (causes or found))


def _line(item: dict[str, Any], schema: dict[str, Any]) -> str:
    location = item["loc"]
    key = _key(location, schema)
    message = item["msg"].removeprefix("Value error, ")
    match item["type"]:
        case "extra_forbidden":
            return f"{key}: {_unknown_key(location, schema)}"
        case "missing":
            return f"{key}: missing; add it"
        case "union_tag_invalid":
            choice = _node_at(location, schema)["discriminator"]
            tag, known = item["ctx"]["tag"], choice["mapping"]
            return f"{_joined(key, choice)}: unknown {tag!r}; {closest(tag, known)}"
        case "union_tag_not_found" if isinstance(item["input"], dict):
            choice = _node_at(location, schema)["discriminator"]
            return f"{_joined(key, choice)}: missing; add it, one of {', '.join(choice['mapping'])}"
        case "union_tag_not_found":
            choice = _node_at(location, schema)["discriminator"]
            return _before(key) + _not_a_mapping(item["input"], choice)
        case "json_invalid":
            return f"{_before(key)}{message[:1].lower()}{message[1:]}"
        case "value_error":
            return _before(key) + message
    message = message[:1].lower() + message[1:]
    value = as_written(item["input"])
    return f"{_before(key)}{value} is not valid: {message}{_range(location, schema)}"


def _before(key: str) -> str:
    """What a message begins with; nothing if it is about the whole file."""
    return f"{key}: " if key else ""


def _unknown_key(location: tuple[Any, ...], schema: dict[str, Any]) -> str:
    """Say whose key it is, if another model of the union has it, or which key may be meant."""
    *place, key = location
    union = _node_at(tuple(place[:-1]), schema)
    choice = union.get("discriminator", {})
    members = choice.get("mapping", {})
    if place and place[-1] in members:
        has_it = [m for m in members if key in _keys_at((*place[:-1], m), schema)]
        if has_it:
            kind = union.get("title", choice["propertyName"]).lower()
            owners = " and ".join(map(repr, has_it))
            return f"belongs to {kind} {owners}, not {place[-1]!r}; remove it"
    return f"unknown key; {closest(str(key), _keys_at(tuple(place), schema))}"


def _not_a_mapping(value: Any, choice: dict[str, Any]) -> str:
    """Say what to write for a value such as ``esci``, where ``{name: esci}`` is needed."""
    known, said = list(choice["mapping"]), value
    while isinstance(said, list | tuple) and len(said) == 1:
        said = said[0]
    match = difflib.get_close_matches(str(said), known, n=1)
    entry = f"{{{choice['propertyName']}: {(match or known)[0]}}}"
    return f"{as_written(value)} is not a mapping; write {'' if match else 'e.g. '}{entry}"


def _joined(key: str, choice: dict[str, Any]) -> str:
    """Key of the value that says which of several models is meant."""
    return f"{key}.{choice['propertyName']}".removeprefix(".")


def _key(location: tuple[Any, ...], schema: dict[str, Any]) -> str:
    """Where a value stands in the file, without the tags that pydantic adds for its unions."""
    node, parts = schema, []
    for part in location:
        if part not in node.get("discriminator", {}).get("mapping", {}):
            parts.append(str(part))
        node = _child(node, schema, part)
    return ".".join(parts)


def _range(location: tuple[Any, ...], schema: dict[str, Any]) -> str:
    """Allowed range of a number, e.g. `` (range [0, 1])``; nothing where there is none."""
    node = _node_at(location, schema)
    node = next(iter(node.get("anyOf", [node])))
    low = [f"[{node[k]:g}" if k == "minimum" else f"({node[k]:g}" for k in LOWER if k in node]
    high = [f"{node[k]:g}]" if k == "maximum" else f"{node[k]:g})" for k in UPPER if k in node]
    if not low and not high:
        return ""
    return f" (range {(low or ['(−∞'])[0]}, {(high or ['∞)'])[0]})"


def _keys_at(location: tuple[Any, ...], schema: dict[str, Any]) -> list[str]:
    """Keys allowed at a place."""
    return list(_node_at(location, schema).get("properties", {}))


def _node_at(location: tuple[Any, ...], schema: dict[str, Any]) -> dict[str, Any]:
    """Part of the schema that describes a place."""
    node = schema
    for part in location:
        node = _child(node, schema, part)
    return node


def _child(node: dict[str, Any], schema: dict[str, Any], part: Any) -> dict[str, Any]:
    if isinstance(part, int):
        child = node.get("items", {})
    elif part in node.get("properties", {}):
        child = node["properties"][part]
    elif "mapping" in node.get("discriminator", {}):
        child = {"$ref": node["discriminator"]["mapping"].get(part, "")}
    else:
        named = node.get("patternProperties", {}).values()
        child = next(iter(named), node.get("additionalProperties")) or {}
    reference = child.get("$ref", "").rsplit("/", 1)[-1]
    found: dict[str, Any] = schema.get("$defs", {}).get(reference, child)
    return found
