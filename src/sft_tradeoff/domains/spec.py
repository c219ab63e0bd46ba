"""What a study file says about a domain: the settings that all domains share.

Each domain subclasses :class:`DomainSpec` with its variants and its own options. Snakemake imports
these classes to plan, so their modules import no torch and no data library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, get_args

from pydantic import Field, model_validator

from sft_tradeoff.system.strict import MOST, Name, Seed, Settings


class DomainSpec(Settings):
    """A fine-tuning domain with its target format and sizes.

    A subclass sets ``name`` and ``variant``, each a ``Literal`` (the first variant is the default),
    adds its own options, and states:

    Attributes:
        implementation: Module in this package that defines ``DOMAIN``, such as ``medcalc.hub``.
            Empty: the module of the class itself.
        assets: Catalogue entries that the examples are read from, in the order of ``generate``'s
            arguments; empty if they are generated.
        example_tokens: Variant -> typical tokens of a prompt and of a response, for cost estimates.
        trained_tasks: Tasks of the general suite that test what the domain trains.
    """

    implementation: ClassVar[str] = ""
    assets: ClassVar[tuple[str, ...]] = ()
    example_tokens: ClassVar[Mapping[str, tuple[float, float]]] = {}
    trained_tasks: ClassVar[tuple[str, ...]] = ()

    name: str
    variant: str = Field(description="target format")
    label: Name | None = Field(None, description="name in paths and figures; default name-variant")
    n_train: int = Field(400, ge=1, le=MOST, description="training examples")
    n_validation: int = Field(50, ge=0, le=MOST, description="validation examples")
    n_test: int = Field(100, ge=1, le=MOST, description="test examples")
    seed: Seed = Field(0, description="of the draw of examples")
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="most tokens of an answer; default: the domain's, or what test responses need",
    )

    @model_validator(mode="after")
    def _labelled(self) -> DomainSpec:
        if self.label is None:
            object.__setattr__(self, "label", f"{self.name}-{self.variant}")
        return self

    @classmethod
    def variants(cls) -> tuple[str, ...]:
        """Target formats that a study may ask for."""
        return get_args(cls.model_fields["variant"].annotation)

    @classmethod
    def module(cls) -> str:
        """Module that defines ``DOMAIN``, as a path within this package."""
        own = cls.__module__.removeprefix(f"{__package__}.")
        return cls.implementation or own

    @property
    def data_file(self) -> str | None:
        """The user's own file that the examples are read from; None for every other domain."""
        return None

    def card_lines(self) -> Iterable[tuple[str, str]]:
        """Titles and texts that the domain's own options add to the data card."""
        return ()
