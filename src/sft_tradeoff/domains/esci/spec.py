"""Settings of the two ESCI domains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.system.text import shown

# Of catalogue.DEPARTMENTS, whose import would make every domain's digest depend on them.
DEPARTMENT_NAMES = (
    *("electronics", "kitchen", "home", "outdoors", "tools", "pets", "beauty", "office"),
    "clothing",
)


class EsciSpec(DomainSpec):
    """Generated queries and products."""

    implementation = "esci.generated"
    # Means of 150 examples with SmolLM2's tokenizer and chat template.
    example_tokens: ClassVar = {"cot": (142, 54), "label_only": (139, 9)}

    name: Literal["esci"]
    variant: Literal["cot", "label_only"] = Field("cot", description="target format")
    departments: tuple[str, ...] | None = Field(
        None, min_length=1, description="departments of the catalogue; default all"
    )

    @field_validator("departments")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in DEPARTMENT_NAMES:
                known = list(DEPARTMENT_NAMES)
                raise ValueError(f"{shown(name)} is not one of the departments {known}; remove it")
            if names and names.count(name) > 1:
                raise ValueError(f"{name!r} stands there twice; remove one")
        return names

    def card_lines(self) -> Iterable[tuple[str, str]]:
        """Say that only some departments are used."""
        if self.departments is not None:
            yield "Selection", f"only the departments {', '.join(self.departments)}"


class HubEsciSpec(DomainSpec):
    """Amazon's ESCI data."""

    implementation = "esci.hub"
    assets = ("esci",)
    example_tokens: ClassVar = {"label_only": (400, 10)}  # a guess

    name: Literal["hub_esci"]
    variant: Literal["label_only"] = Field("label_only", description="target format")

    @field_validator("variant", mode="before")
    @classmethod
    def _no_explanations(cls, variant: Any) -> Any:
        if variant == "cot":
            raise ValueError(
                "domain 'hub_esci' has no variant 'cot': the data set has labels but no "
                "explanations, and the source of the paper's explanations is not public; use "
                "variant: label_only, or domain own with your own explanations"
            )
        return variant
