"""Which domains there are, and how to get one. ``README.md`` says how to add one."""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter

from sft_tradeoff.domains.esci.spec import EsciSpec, HubEsciSpec
from sft_tradeoff.domains.math.spec import HubMetamathSpec, MathSpec
from sft_tradeoff.domains.medcalc.spec import HubMedcalcSpec, MedcalcSpec
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.domains.spec import DomainSpec

if TYPE_CHECKING:
    from sft_tradeoff.domains.base import Domain

_CLASSES: tuple[type[DomainSpec], ...] = (
    MedcalcSpec,
    EsciSpec,
    MathSpec,
    OwnSpec,
    HubMedcalcSpec,
    HubEsciSpec,
    HubMetamathSpec,
)
SPECS = {get_args(spec.model_fields["name"].annotation)[0]: spec for spec in _CLASSES}


def _name_of(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    return None if name is None else str(name)


def _prepare(value: Any) -> Any:
    """Drop null where it says "not set": for an option of another domain or a required one.

    Also names what replaces a domain's former name.
    """
    name = _name_of(value)
    if name == "jsonl":
        raise ValueError("'jsonl': this domain is now called 'own'; write name: own")
    if not isinstance(value, Mapping) or name not in SPECS:
        return value
    own, options = SPECS[name].model_fields, {key for s in SPECS.values() for key in s.model_fields}
    unset = {key for key in options if key not in own or own[key].is_required()}
    return {key: v for key, v in value.items() if v is not None or key not in unset}


# The type of a field that holds the settings of one domain, whichever it is.
if TYPE_CHECKING:
    AnyDomainSpec = DomainSpec
else:
    AnyDomainSpec = Annotated[
        functools.reduce(operator.or_, (Annotated[spec, Tag(n)] for n, spec in SPECS.items())),
        # A function: pydantic takes no field that has a validator, as all of ours have.
        Discriminator(_name_of),
        Field(
            json_schema_extra={
                "title": "Domain",  # what error messages call it
                "discriminator": {
                    "propertyName": "name",
                    "mapping": {n: f"#/$defs/{spec.__name__}" for n, spec in SPECS.items()},
                },
            }
        ),
        BeforeValidator(_prepare),
    ]
DOMAIN_SPEC: TypeAdapter[DomainSpec] = TypeAdapter(AnyDomainSpec)


def domain_spec(**settings: Any) -> DomainSpec:
    """Settings of a domain from the keys of a study file.

    Raises:
        ValidationError: If a key is unknown or missing, or has a wrong value.
    """
    return DOMAIN_SPEC.validate_python(settings)


def get_domain(name: str) -> Domain:
    """Import the module of one domain and return its ``DOMAIN``."""
    module = importlib.import_module(f"{__package__}.{SPECS[name].module()}")
    domain: Domain = module.DOMAIN
    return domain
