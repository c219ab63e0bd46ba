"""``config/claims.yaml``: every claim with its estimand, margin and level, fixed in advance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from sft_tradeoff.analysis.claims.base import QuantityOptions
from sft_tradeoff.analysis.claims.registry import QUANTITIES
from sft_tradeoff.system.strict import Settings
from sft_tradeoff.system.strict_yaml import read_yaml
from sft_tradeoff.system.text import shown
from sft_tradeoff.system.validation import ConfigError, closest, explain

CLAIMS_PATH = Path("config/claims.yaml")


class Reported(Settings):
    """A number that others report."""

    text: str = Field(min_length=1)
    source: str = Field(min_length=1)
    second_hand: bool = Field(False, description="taken from a text about the source")

    def __str__(self) -> str:
        """The number with its source."""
        return f"{self.text} ({self.source}{', second-hand' if self.second_hand else ''})"


class Claim(Settings):
    """One claim.

    Args:
        quantity: The number that it is about, a name of :data:`~.registry.QUANTITIES`.
        options: Parameters of the quantity.
        margin: Smallest effect that matters, in the quantity's unit.
        level: Largest probability of a wrong verdict.
        about_training: Whether it speaks of training runs in general, so that one seed cannot
            support or contradict it.
    """

    id: str = Field(pattern=r"^[A-Z][0-9]+$")
    statement: str = Field(min_length=1)
    source: str = Field(min_length=1, description="paper, section, or arXiv number")
    quantity: str
    options: dict[str, Any] = Field(default_factory=dict)
    margin: float = Field(gt=0)
    level: float = Field(gt=0, lt=1)
    needs: str = Field(min_length=1, description="runs without which it is not tested")
    paper: Reported | None = None
    others: tuple[Reported, ...] = ()
    about_training: bool = True

    @model_validator(mode="after")
    def _known(self) -> Claim:
        if self.quantity not in QUANTITIES:
            raise ValueError(
                f"claim {self.id}: unknown quantity {shown(self.quantity)}; "
                f"{closest(self.quantity, QUANTITIES)}"
            )
        self.parameters()
        return self

    def parameters(self) -> QuantityOptions:
        """Parameters of the quantity, with its defaults.

        Raises:
            ValueError: Naming the claim, the wrong option, its value and the fix.
        """
        model = QUANTITIES[self.quantity].options
        try:
            return model(**self.options)
        except ValidationError as error:
            text = explain(error, model.model_json_schema())
            raise ValueError(f"claim {self.id}, options: {text}") from error


class Claims(Settings):
    """All claims, in the order of the table."""

    claims: tuple[Claim, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> Claims:
        seen: set[str] = set()
        for claim in self.claims:
            if claim.id in seen:
                raise ValueError(f"id {claim.id!r} appears twice; give each claim its own")
            seen.add(claim.id)
        return self


def read_claims(path: Path = CLAIMS_PATH) -> tuple[Claim, ...]:
    """Read and check a file of claims.

    Raises:
        ConfigError: Naming the file, each wrong key, its value and the fix.
    """
    try:
        return Claims.model_validate(read_yaml(path)).claims
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; run the command in the project's folder") from None
    except ValidationError as error:
        raise ConfigError(f"{path}:\n  {explain(error, Claims.model_json_schema())}") from None
