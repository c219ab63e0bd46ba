"""YAML without silent surprises: duplicate keys and numbers in another base are errors.

PyYAML keeps the last of two equal keys and reads ``010`` as 8 and ``1:30`` as 90. In a study that
would be a different experiment, so all YAML files, the user's included, are read here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, ScalarNode

from sft_tradeoff.system.validation import ConfigError

# Numbers with leading zeros (octal in YAML 1.1) and with colons (base 60).
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")


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
                    f"line {line}: key {key.value!r} is given twice (first in line {lines[name]}), "
                    "and only one of them can take effect; remove one"
                )
            if isinstance(key, ScalarNode):
                lines[name] = line
        return node

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        node = super().compose_scalar_node(anchor)
        is_number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if is_number and _OTHER_BASE.fullmatch(node.value):
            raise _Refused(
                f"line {node.start_mark.line + 1}: YAML reads {node.value} as octal or in base 60; "
                "write a decimal number, or put it in quotes if it is a name"
            )
        return node


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file.

    Raises:
        ConfigError: Naming file, line and problem, if it is not one document of UTF-8 YAML, or a
            key is given twice.
        FileNotFoundError: If there is no such file.
    """
    try:
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
        raise ConfigError(f"{source}: not valid YAML: brackets are nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: e.g. a date such as 2026-02-30
        raise ConfigError(f"{source}: not valid YAML: {error}") from None
