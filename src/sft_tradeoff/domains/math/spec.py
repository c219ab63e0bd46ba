"""Settings of the two math domains."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sft_tradeoff.domains.spec import DomainSpec


class MathSpec(DomainSpec):
    """Generated word problems."""

    implementation = "math.generated"
    # Means of 150 examples with SmolLM2's tokenizer and chat template.
    example_tokens: ClassVar = {"cot": (105, 91), "label_only": (101, 7)}
    trained_tasks = ("gsm8k",)

    name: Literal["math"]
    variant: Literal["cot", "label_only"] = Field("cot", description="target format")


class HubMetamathSpec(DomainSpec):
    """MetaMathQA and GSM8K."""

    implementation = "math.hub"
    assets = ("metamathqa", "gsm8k")
    example_tokens: ClassVar = {"cot": (120, 220)}  # guesses
    trained_tasks = ("gsm8k",)

    name: Literal["hub_metamath"]
    variant: Literal["cot"] = Field("cot", description="target format")
