"""Settings of the user's own domain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.system.text import shown

Metric = Literal["exact_match", "numeric", "choice"]


class OwnSpec(DomainSpec):
    """The user's own JSONL file."""

    implementation = "own.domain"

    name: Literal["own"]
    variant: Literal["response"] = Field("response", description="can be omitted")
    path: str = Field(description="the data file")
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
