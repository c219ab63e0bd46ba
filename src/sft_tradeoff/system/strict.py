"""Base classes and common types of settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
LONGEST_NAME = 100  # letters; names become names of folders
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch and the tables can hold


class Strict(BaseModel):
    """Base of all settings: immutable, unknown keys are errors, and numbers are finite numbers."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )


class Settings(Strict):
    """Base of what has numbers: true and false are none."""

    # One validator for all fields: on their types it would come between these and the ranges.
    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes true for 1, which nobody means who writes it."""
        types = set(_types_in(cls.model_fields[str(info.field_name)].annotation))
        if types & {int, float} and bool not in types:
            for found in _booleans_in(value):
                raise ValueError(f"{str(found).lower()} is not a number; write one")
        return value


def _types_in(annotation: Any) -> Iterator[Any]:
    inner = get_args(annotation)
    yield from itertools.chain.from_iterable(map(_types_in, inner)) if inner else [annotation]


def _booleans_in(value: Any) -> Iterator[bool]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_booleans_in, value))
    elif isinstance(value, bool):
        yield value
