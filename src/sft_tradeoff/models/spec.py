"""A model θ0 in a study file: a pretrained one, or one that starts from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sft_tradeoff.system.strict import Name, Seed, Settings
from sft_tradeoff.system.text import shown

# Raise it when the same asset gives another model folder; everything that used it is repeated.
MODEL_RECIPE_VERSION = 3


def built_model(cache: Path, name: str) -> Path:
    """Return the folder of a built model in the cache.

    What another recipe built has another folder: file times would not tell them apart, and clones
    with older code may share the cache.
    """
    return cache / "models" / f"recipe-{MODEL_RECIPE_VERSION}" / name


class StartFrom(Settings):
    """A run of the same study, by what tells it from the others; its final weights are a θ0."""

    model: Name = Field(description="one of the study's models")
    domain: str = Field(description="label of one of its domains")
    method: str = Field(description="label of one of its methods that trains")
    learning_rate: float = Field(gt=0, lt=1, description="one of that method's rates")
    seed: Seed = Field(description="one of the study's seeds")


class ModelSpec(Settings):
    """A model θ0.

    ``format`` says what the asset holds: a Transformers folder, or one GGUF file to convert;
    ``random`` builds a tiny untrained model for tests and needs no asset. A model with
    ``start_from`` has no asset either: its tokenizer, template and license are the other model's.
    """

    asset: Name | None = Field(None, description="name under assets; random: none")
    start_from: StartFrom | None = Field(
        None,
        exclude_if=lambda start: start is None,  # digests of other models stay as they are
        description="run of the same study whose final weights are θ0; instead of an asset",
    )
    format: Literal["safetensors", "gguf", "random"] = Field(
        "safetensors", description="what the asset holds; random: an untrained model for tests"
    )
    file: str | None = Field(None, description="the GGUF file within the asset")
    chat_template: str | None = Field(None, description="Jinja template, if the model has none")
    chat_template_args: dict[str, bool | int | str] = Field(
        default_factory=dict,
        description="variables of the template to fix, e.g. {enable_thinking: false}",
    )
    expected: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="task.metric -> [low, high] for θ0; outside means a loading bug",
    )
    architecture: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        exclude=True,  # only used to estimate the cost of a study before the model is fetched
        description="fields of its config.json that give its size, model_type among them",
    )

    @model_validator(mode="after")
    def _asset_present(self) -> ModelSpec:
        if self.start_from is not None:
            self._refuse_beside_start()
        elif self.format != "random" and self.asset is None:
            raise ValueError(
                f"format {self.format!r} needs an asset; add 'asset: <name>' (or 'start_from', "
                "which names a run of the study)"
            )
        elif self.format == "gguf" and self.file is None:
            raise ValueError("format 'gguf' needs 'file: <name>.gguf'")
        for score, (low, high) in self.expected.items():
            if low > high:
                raise ValueError(f"expected: {shown(score)}: {low:g} is above {high:g}; swap them")
        return self

    def _refuse_beside_start(self) -> None:
        """Refuse what only a model with files of its own has."""
        own = ("asset", "file", "chat_template", "chat_template_args", "architecture")
        given = [f"{key} {shown(value)}" for key in own if (value := getattr(self, key))]
        if self.format != "safetensors":
            given.append(f"format {shown(self.format)}")
        if given:
            raise ValueError(
                f"start_from: given together with {given[0]}; a model that starts from a run has "
                "that run's weights, tokenizer and chat template: remove one of the two"
            )
