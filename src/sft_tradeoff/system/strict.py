"""Base classes and common types of settings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from sft_tradeoff.system.text import shown

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
NAME_RULE = "use letters, digits, '-' and '_', and begin with a letter or digit"
LONGEST_NAME = 100  # characters; folders are named after it
_REPETITIVE = re.compile(r"(.+?)\1{19,}$")


def _not_repetitive(name: str) -> str:
    """Refuse what Snakemake takes for the start of an endless name: 20 repetitions at the end."""
    if found := _REPETITIVE.search(name):
        raise ValueError(
            f"{shown(name)} ends in many repetitions of {found[1]!r}, which Snakemake does not "
            "accept in a name; choose another one"
        )
    return name


Name = Annotated[
    str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME), AfterValidator(_not_repetitive)
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch and the tables can hold
MOST = 1_000_000_000  # examples, tokens, ...; more is a slip, and may not fit into a C integer


class Strict(BaseModel):
    """Base of all settings: immutable, with finite numbers only; unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )


class Settings(Strict):
    """Base of settings with numbers: true and false are not numbers."""

    # One validator for all fields: in their annotations it would separate types from ranges.
    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true for a number, which Python would read as 1."""
        types = set(_types_in(cls.model_fields[str(info.field_name)].annotation))
        if types & {int, float} and bool not in types:
            for found in _booleans_in(value):
                raise ValueError(f"{found} is not a number; write one")
        return value


def _types_in(annotation: Any) -> Iterator[Any]:
    inner = get_args(annotation)
    yield from itertools.chain.from_iterable(map(_types_in, inner)) if inner else [annotation]


def _booleans_in(value: Any) -> Iterator[str]:
    """The booleans, each after the key that it has in a mapping."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (f"{shown(key)}: {found}" for found in _booleans_in(inner))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_booleans_in, value))
    elif isinstance(value, bool):
        yield shown(value)
