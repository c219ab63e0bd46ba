"""A domain in a study file."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    model_validator,
)

from sft_tradeoff.domains.registry import DOMAINS
from sft_tradeoff.system.strict import Name, Seed, Settings

_NO_EXPLANATIONS = (
    "variant 'cot' of domain 'hub_esci' does not exist: the data set has labels but no "
    "explanations, and where the paper's came from is not public; use variant: label_only, or "
    "domain jsonl with explanations of your own"
)


class DomainSpec(Settings):
    """A fine-tuning domain with its target format and sizes."""

    name: Literal["medcalc", "esci", "math", "jsonl", "hub_medcalc", "hub_esci", "hub_metamath"]
    variant: str = Field("cot", description="target format: cot, label_only (jsonl: response)")
    label: Name | None = Field(None, description="name in paths and figures; default name-variant")
    n_train: int = Field(400, ge=1)
    n_validation: int = Field(50, ge=0)
    n_test: int = Field(100, ge=1)
    seed: Seed = 0
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="most tokens of an answer; default: the domain's, or what test responses need",
    )
    calculators: tuple[int, ...] | None = Field(
        None, min_length=1, description="medcalc only: ids of the calculators; default all"
    )
    path: str | None = Field(None, description="jsonl only: the data file")
    metric: Literal["exact_match", "numeric", "choice"] = Field(
        "exact_match", description="jsonl only: how answers are graded"
    )
    tolerance: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="jsonl, numeric: relative tolerance; 0: exact to the gold answer's digits",
    )

    @model_validator(mode="after")
    def _consistent(self) -> DomainSpec:
        if self.name == "jsonl":
            if self.path is None:
                raise ValueError("domain 'jsonl' needs 'path: <file>.jsonl'")
            if "variant" in self.model_fields_set and self.variant not in DOMAINS["jsonl"]:
                raise ValueError(f"variant {self.variant!r}: domain 'jsonl' has none; remove it")
            object.__setattr__(self, "variant", "response")
        elif self.path is not None:
            raise ValueError(f"'path' belongs to domain 'jsonl', not {self.name!r}; remove it")
        if self.tolerance and self.metric != "numeric":
            raise ValueError(
                f"'tolerance' belongs to metric 'numeric', not {self.metric!r}; remove it, or set "
                "'metric: numeric'"
            )
        if self.name != "jsonl" and self.metric != "exact_match":
            raise ValueError(f"'metric' belongs to domain 'jsonl', not {self.name!r}; remove it")
        if self.calculators and len(set(self.calculators)) < len(self.calculators):
            raise ValueError(f"calculators: {list(self.calculators)} names one twice; remove it")
        if self.calculators is not None and self.name != "medcalc":
            raise ValueError(
                f"'calculators' belongs to domain 'medcalc', not {self.name!r}; remove it"
            )
        if (self.name, self.variant) == ("hub_esci", "cot"):
            raise ValueError(_NO_EXPLANATIONS)
        if self.variant not in DOMAINS[self.name]:
            raise ValueError(
                f"variant {self.variant!r} of domain {self.name!r} is unknown; "
                f"use one of {', '.join(DOMAINS[self.name])}"
            )
        if self.label is None:
            object.__setattr__(self, "label", f"{self.name}-{self.variant}")
        return self
