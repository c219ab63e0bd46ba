"""Validation errors as lines of "key: value: fix", with a guess at what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from pydantic import ValidationError

from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.strict import NAME_PATTERN, NAME_RULE
from sft_tradeoff.system.text import listing, shown

MOST_READ, MOST_LINES, MOST_PLACES = 100, 10, 5  # problems, their lines, and places per line
LOWER, UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_PLAIN_KEY = re.compile(r"[\w.-]{1,100}", re.ASCII)


class ConfigError(UserError, ValueError):
    """A setting is wrong; the message names file, key, value and fix."""


def closest(value: str, known: Iterable[str]) -> str:
    """Suggest the most similar name, or list them all."""
    known = sorted(known)
    if not known:
        return "there are none; remove it"
    match = difflib.get_close_matches(value, known, n=1)
    return f"did you mean {match[0]!r}?" if match else f"choose one of {', '.join(known)}"


def explain(error: ValidationError, schema: dict[str, Any]) -> str:
    """Turn pydantic's errors into lines; a problem of several places is one line.

    Args:
        error: The errors.
        schema: JSON schema of the validated model, which has the allowed keys.
    """
    found = error.errors(include_url=False)
    # A list whose items are all wrong is also "too short", which would only mislead.
    causes = [item for item in found if item["type"] != "too_short"] or found
    places: dict[str, list[str]] = {}
    for item in causes[:MOST_READ]:
        for key, problem in _problems(dict(item), schema):
            places.setdefault(problem, []).append(key)
    lines = [_before(keys) + problem for problem, keys in places.items()]
    return listing(lines, MOST_LINES, separator="\n  ")


def _problems(item: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Key, empty for the whole file, and problem."""
    location, value, key = item["loc"], item["input"], _key(item["loc"], schema)
    node = _node_at(location, schema)
    message = item["msg"].removeprefix("Value error, ")
    sentence = message[:1].lower() + message[1:]
    match item["type"]:
        case "extra_forbidden":
            yield key, _unknown_key(location, schema)
        case "missing":
            yield key, "missing; add it"
        case "union_tag_invalid" | "union_tag_not_found" if isinstance(value, Mapping):
            yield from _unknown_kind(key, value, node, schema)
        case "union_tag_not_found" | "dict_type" | "model_type":
            yield key, f"{shown(value)} is not a mapping; {_mapping_for(value, node)}"
        case "tuple_type":
            yield key, f"{shown(value)} is not a list; {_list_for(value, node, schema)}"
        case "too_short":
            least = item["ctx"]["min_length"]
            yield key, f"{shown(value)} is not enough; give at least {least}"
        case "string_type" if isinstance(value, int | float | date):
            yield key, f"{shown(value)} is not text; put it in quotes"
        case "string_pattern_mismatch" if item["ctx"]["pattern"] == NAME_PATTERN:
            yield key, f"{shown(value)} is not valid; {NAME_RULE}"
        case "json_invalid":
            yield key, sentence
        case "value_error":
            yield key, message
        case _:
            yield key, f"{shown(value)} is not valid: {sentence}{_range(location, schema)}"


def _before(keys: list[str]) -> str:
    """What a message begins with; nothing if it is about the whole file."""
    return f"{listing(keys, MOST_PLACES)}: " if any(keys) else ""


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


def _unknown_kind(
    key: str, value: Mapping[Any, Any], node: dict[str, Any], schema: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """Problems of a mapping that does not say which of several models it is.

    Pydantic stops there, but keys that none of the models has are wrong in any case.
    """
    choice = node["discriminator"]
    name, members = choice["propertyName"], choice["mapping"]
    tag = value.get(name)
    yield (
        ".".join(filter(None, [key, name])),
        f"missing; add it, one of {', '.join(members)}"
        if tag is None
        else f"unknown {shown(str(tag))}; {closest(str(tag), members)}",
    )
    known = {k for member in members for k in _child(node, schema, member).get("properties", {})}
    for other in [k for k in value if k not in known]:
        place = ".".join(filter(None, [key, _part(other)]))
        yield place, f"unknown key; {closest(str(other), known)}"


def _mapping_for(value: Any, node: dict[str, Any]) -> str:
    """What to write for a value such as ``esci``, where ``{name: esci}`` is needed."""
    if entry := _entry(value, node):
        return f"write {entry}"
    keys = f", with keys such as {listing(node['properties'], 4)}" if "properties" in node else ""
    return f"write 'key: value' lines below it{keys}" + ", or remove it" * (value is None)


def _entry(value: Any, node: dict[str, Any]) -> str:
    """The mapping that is meant by a value such as ``esci``; empty if that is unknown."""
    choice, required = node.get("discriminator"), node.get("required", ())
    if choice is not None:
        known, said = list(choice["mapping"]), value
        while isinstance(said, list | tuple) and len(said) == 1:
            said = said[0]
        match = difflib.get_close_matches(str(said), known, n=1)
        return f"{'' if match else 'e.g. '}{{{choice['propertyName']}: {(match or known)[0]}}}"
    is_name = isinstance(value, str) and len(required) == 1
    return f"{{{required[0]}: {value}}}" if is_name and _PLAIN_KEY.fullmatch(value) else ""


def _list_for(value: Any, node: dict[str, Any], schema: dict[str, Any]) -> str:
    """What to write for a value, where a list of such values is needed."""
    items = _child(node, schema, 0)
    if isinstance(value, Mapping):
        return "begin the entry with '- '"
    if entry := _entry(value, items):
        return f"write [{entry}]".replace("[e.g. ", "e.g. [")
    is_scalar = not items.keys() & {"discriminator", "properties"} and "items" in node
    return f"write [{shown(value)}]" if is_scalar else "write one, e.g. with '- ' before each entry"


def _key(location: tuple[Any, ...], schema: dict[str, Any]) -> str:
    """Where a value stands in the file, without what pydantic adds for unions and keys."""
    node, parts = schema, []
    for part in location:
        if part != "[key]" and part not in node.get("discriminator", {}).get("mapping", {}):
            parts.append(_part(part))
        node = _child(node, schema, part)
    return ".".join(parts)


def _part(part: Any) -> str:
    """One part of a key, as it is if it is plain."""
    return str(part) if _PLAIN_KEY.fullmatch(str(part)) else shown(part)


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
        each = dict(enumerate(node.get("prefixItems", ())))
        child = each.get(part, node.get("items", {}))
    elif part in node.get("properties", {}):
        child = node["properties"][part]
    elif "mapping" in node.get("discriminator", {}):
        child = {"$ref": node["discriminator"]["mapping"].get(part, "")}
    else:
        named = node.get("patternProperties", {}).values()
        child = next(iter(named), node.get("additionalProperties")) or {}
    if not isinstance(child, dict):  # true: anything is allowed
        return {}
    reference = child.get("$ref", "").rsplit("/", 1)[-1]
    found: dict[str, Any] = schema.get("$defs", {}).get(reference, child)
    return found
