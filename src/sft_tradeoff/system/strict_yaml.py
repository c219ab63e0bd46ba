"""YAML without silent surprises: duplicate keys and numbers in another base are errors.

PyYAML keeps the last of two equal keys and reads ``010`` as 8 and ``1:30`` as 90. In a study that
would be a different experiment, so all YAML files, the user's included, are read here. Sizes are
limited, because a few lines of anchors within anchors stand for billions of values.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode
from yaml.reader import ReaderError

from sft_tradeoff.system.text import shown
from sft_tradeoff.system.validation import ConfigError

MOST_BYTES, MOST_VALUES = 1_000_000, 100_000
LONGEST_NUMBER = 50  # characters

# Numbers with leading zeros (octal in YAML 1.1) and with colons (base 60).
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
# Neither names, nor files in UTF-8, nor pages can hold these: \x1b, half of a surrogate pair, ...
_CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\U0010ffff]")


class _Refused(Exception):
    """The problem and its line, counted from 1."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys; merge keys and anchors work as usual."""

    # Before merge keys are resolved, because an explicit key may replace a merged one.
    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines:
                raise _Refused(
                    f"line {line}: key {shown(key.value)} is given twice (first in line "
                    f"{lines[name]}), and only one of them can take effect; remove one"
                )
            if isinstance(key, ScalarNode):
                lines[name] = line
        return node

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        node = super().compose_scalar_node(anchor)
        line, fix = node.start_mark.line + 1, "put it in quotes if it is a name"
        if found := _CONTROL.search(node.value):
            raise _Refused(_with_character(line, found[0]))
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
            if len(node.value) > LONGEST_NUMBER:
                raise _Refused(
                    f"line {line}: a number of {len(node.value)} characters; no number of a study "
                    f"has more than {LONGEST_NUMBER}; {fix}"
                )
            if _OTHER_BASE.fullmatch(node.value):
                raise _Refused(
                    f"line {line}: YAML reads {node.value} as octal or in base 60; write a decimal "
                    f"number, or {fix}"
                )
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:  # 2026-02-30, !!bool maybe, ...
            raise _Refused(
                f"line {node.start_mark.line + 1}: {shown(node.value)} is not valid ({error}); "
                "correct it, or put it in quotes if it is text"
            ) from None

    def get_single_node(self) -> Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > MOST_VALUES:
            raise _Refused(
                f"more than {MOST_VALUES:,} values, anchors counted wherever they are used; write "
                "fewer"
            )
        return node


def _size(node: Node, known: dict[int, float]) -> float:
    """Number of values that a node stands for; infinite if it contains itself."""
    if not isinstance(node, CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")  # until it is counted
        parts = [p for pair in node.value for p in pair] if isinstance(node, MappingNode) else None
        known[id(node)] = 1 + sum(_size(part, known) for part in parts or node.value)
    return known[id(node)]


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file.

    Raises:
        ConfigError: Naming file, line and problem, if it is not one document of UTF-8 YAML, too
            large for a file written by hand, or a key is given twice.
        FileNotFoundError: If there is no such file.
    """
    try:
        found = Path(path).stat()
        if stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):  # may never end
            raise ConfigError(f"{path}: cannot be read: not a file")
        if found.st_size > MOST_BYTES:
            raise ConfigError(
                f"{path}: has {found.st_size:,} bytes, more than {MOST_BYTES:,}; give a file of "
                "settings, not of data"
            )
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}: line {line}: not UTF-8 text (byte 0x{data[error.start]:02x}); save the file "
            "with that encoding"
        ) from None
    return parse_yaml(text, path)


def parse_yaml(text: str, source: str | Path) -> Any:
    """Read YAML text; see :func:`read_yaml`.

    Args:
        text: One document.
        source: Where it comes from, for error messages.

    Raises:
        ConfigError: Naming source, line and problem.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except _Refused as error:
        raise ConfigError(f"{source}: {error}") from None
    except RecursionError:
        raise ConfigError(
            f"{source}: not valid YAML: brackets are nested too deeply; write fewer levels"
        ) from None
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"{source}: {where}not valid YAML: {_problem(error)}") from None
    except ReaderError as error:
        line, character = text.count("\n", 0, error.position) + 1, chr(int(error.character))
        raise ConfigError(f"{source}: {_with_character(line, character)}") from None


def _with_character(line: int, character: str) -> str:
    return f"line {line}: the text has the character {character!r}; remove it"


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = f"{error.context or ''} {error.problem}".strip()
    return f"{problem}; indent with spaces" if "'\\t'" in problem else problem
