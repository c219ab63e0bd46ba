"""Settings of the two MedCalc domains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from sft_tradeoff.domains.spec import DomainSpec

# Of generated.CALCULATORS, whose import would make every domain's digest depend on them.
CALCULATOR_IDS = (
    *(3, 5, 6, 7, 9, 10, 11, 13, 15, 17, 19, 20, 21, 22, 24, 26, 31, 33, 38, 39, 40, 44, 49, 58),
    *(59, 60, 62, 63, 65, 68, 69),
)


class MedcalcSpec(DomainSpec):
    """Generated patient notes."""

    implementation = "medcalc.generated"
    # Means of 150 examples with SmolLM2's tokenizer and chat template.
    example_tokens: ClassVar = {"cot": (127, 198), "label_only": (125, 11)}

    name: Literal["medcalc"]
    variant: Literal["cot", "label_only"] = Field("cot", description="target format")
    calculators: tuple[int, ...] | None = Field(
        None, min_length=1, description="ids of the calculators; default all"
    )

    @field_validator("calculators")
    @classmethod
    def _known(cls, ids: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if ids and len(set(ids)) < len(ids):
            raise ValueError(f"{list(ids)} names one twice; remove it")
        for unknown in set(ids or ()).difference(CALCULATOR_IDS):
            raise ValueError(
                f"{unknown} is not one of the supported ids {list(CALCULATOR_IDS)}; remove it"
            )
        return ids

    def card_lines(self) -> Iterable[tuple[str, str]]:
        """Say that only some calculators are used."""
        if self.calculators is not None:
            yield (
                "Selection",
                f"only the calculators with ids {', '.join(map(str, self.calculators))}",
            )


class HubMedcalcSpec(DomainSpec):
    """MedCalc-Bench."""

    implementation = "medcalc.hub"
    assets = ("medcalc-bench",)
    example_tokens: ClassVar = {"cot": (700, 600), "label_only": (700, 10)}  # guesses

    name: Literal["hub_medcalc"]
    variant: Literal["cot", "label_only"] = Field("cot", description="target format")
