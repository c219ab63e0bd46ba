"""Settings of the user's own domain."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.system.text import shown

Metric = Literal["exact_match", "numeric", "choice"]
Column = Literal["prompt", "response", "messages", "system", "history", "answer", "split"]
_COLUMNS = "DATA_COLUMNS (in a study file, columns)"


def parse_columns(text: str) -> dict[str, str]:
    """Read ``prompt=question response="my answer"``: what is read -> key of the file.

    Raises:
        ValueError: If it is not of this form, or names something else.
    """
    try:
        pairs = [word.partition("=") for word in shlex.split(text)]
    except ValueError:
        pairs = [("", "", "")]
    columns = {name: key for name, _, key in pairs}
    if any(name not in get_args(Column) or not key for name, _, key in pairs):
        names = ", ".join(get_args(Column))
        raise ValueError(
            f"data columns: {text!r} cannot be read; write name=key, separated by blanks, with "
            f"names among {names} (prompt=question response=answer); put a key with a blank in "
            "quotes (prompt='my question' response=answer)"
        )
    if len(columns) < len(pairs):
        raise ValueError(f"data columns: {text!r} names something twice; name each once")
    return columns


class OwnSpec(DomainSpec):
    """The user's own data."""

    implementation = "own.domain"

    name: Literal["own"]
    variant: Literal["response"] = Field("response", description="can be omitted")
    path: str = Field(description="the data file, or a folder of data files")
    columns: dict[Column, str] = Field(
        default_factory=dict,
        description="what is read as prompt, response, ...: keys of the file; empty: recognized",
    )
    metric: Metric = Field("exact_match", description="how answers are graded")
    tolerance: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="numeric: relative tolerance; 0: exact to the gold answer's digits",
    )

    @field_validator("variant", mode="before")
    @classmethod
    def _has_no_variants(cls, variant: Any) -> Any:
        if variant != "response":
            raise ValueError(f"{shown(variant)}: domain 'own' has no variants; remove it")
        return variant

    @model_validator(mode="after")
    def _consistent(self) -> OwnSpec:
        if self.tolerance and self.metric != "numeric":
            raise ValueError(
                f"'tolerance' belongs to metric 'numeric', not {self.metric!r}; remove it, or set "
                "'metric: numeric'"
            )
        return self

    @model_validator(mode="after")
    def _complete_columns(self) -> OwnSpec:
        given = self.columns.keys()
        if given and not ("messages" in given or {"prompt", "response"} <= given):
            raise ValueError(
                f"{_COLUMNS} names {', '.join(given)}: it must name messages, or prompt and "
                "response; add what is missing"
            )
        if {"messages", "response"} <= given:
            raise ValueError(
                f"{_COLUMNS} names messages and response; remove one: messages end with the "
                "response"
            )
        of_key: dict[str, str] = {}
        for name, key in self.columns.items():
            if (other := of_key.setdefault(key, name)) != name:
                raise ValueError(
                    f"{_COLUMNS} reads {shown(key)} as {other} and as {name}; name another key for "
                    "one of them"
                )
        return self

    @property
    def data_file(self) -> str:
        """The user's file."""
        return self.path

    def card_lines(self) -> Iterable[tuple[str, str]]:
        """Say how answers are graded."""
        rule = str(self.metric)
        if self.metric == "numeric":
            exact = "exact to the digits of the gold answer"
            relative = f"relative tolerance {self.tolerance:g}: not exact"
            rule += f", {relative if self.tolerance else exact}"
        yield "Grading", rule
