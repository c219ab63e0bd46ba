"""The parts of a study file: methods, learning rates, training and evaluation.

No torch here: Snakemake imports this module while it plans.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.names import read_measures
from sft_tradeoff.system.strict import LONGEST_NAME, MOST, Name, Settings
from sft_tradeoff.system.text import shown
from sft_tradeoff.system.validation import closest, explain

MethodLabel = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=LONGEST_NAME)
]
SMALLEST_RATE = 1e-12
LearningRate = Annotated[float, Field(ge=SMALLEST_RATE, lt=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


General = Literal["bits_per_byte", "accuracy"]
OfDomain = Literal["accuracy", "nll"]


def _reader(measure: Any) -> Callable[[Any], Any]:
    """Validator that reads ``bits_per_byte=0.01 accuracy=0.02`` as a mapping."""
    known = get_args(measure)
    return lambda value: read_measures(value, known)


_Share = Annotated[float, Field(ge=0, le=1)]
ToleranceSpec = Annotated[
    dict[General, _Share],
    BeforeValidator(_reader(General), json_schema_input_type=dict[General, _Share] | str),
]
SmallestGainSpec = Annotated[
    dict[OfDomain, _Share],
    BeforeValidator(_reader(OfDomain), json_schema_input_type=dict[OfDomain, _Share] | str),
]


class MethodSpec(Settings):
    """A method of the registry with its options."""

    name: str = Field(description="of the registry")
    label: MethodLabel | None = Field(None, description="name in paths and figures; default: name")
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the method that differ from its defaults"
    )
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        exclude=True,  # the study expands it to one method per combination
        description="option -> values to try; the values become part of the label",
    )

    @model_validator(mode="after")
    def _known(self) -> MethodSpec:
        if self.name not in METHODS:
            raise ValueError(f"unknown method {shown(self.name)}; {closest(self.name, METHODS)}")
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

    def adapter(self) -> dict[str, Any] | None:
        """Keywords of the method's adapters with these options (:attr:`Method.adapter`), if any."""
        method = METHODS[self.name]
        return method.adapter(method.options(**self.options)) if method.adapter else None

    def expanded(self) -> list[MethodSpec]:
        """Return one method per combination of the grid's values."""
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
    """Return an option's value as part of a label."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


class LearningRates(Settings):
    """Learning rates per parameterization; adapters need rates about 10-100 times as large."""

    full: tuple[LearningRate, ...] = Field((), description="for methods that train all weights")
    adapter: tuple[LearningRate, ...] = Field((), description="for methods that train adapters")


class RefineSpec(Settings):
    """Further learning rates, chosen from results: see ``sft-tradeoff refine``."""

    rounds: int = Field(
        3, ge=1, le=20, description="times that rates are added for one tolerance, at most"
    )
    ratio: float = Field(
        2.0,
        ge=1.2,  # rates are rounded to two digits
        le=100,
        description="of the first rate that exceeds the tolerance to the largest within, at which "
        "no more are added",
    )


class AddedRate(Settings):
    """One learning rate of one method beyond the study's grid; all seeds are run."""

    model: Name = Field(description="one of the study's models")
    domain: str = Field(description="label of one of its domains")
    method: MethodLabel = Field(description="label of one of its methods that trains")
    learning_rate: LearningRate


class TrainingSpec(Settings):
    """Budget and optimizer of one training run."""

    epochs: float = Field(1.0, gt=0, le=10_000, description="passes over the training examples")
    batch_size: int = Field(
        8, ge=1, le=MOST, description="sequences per optimizer step, over all ranks"
    )
    micro_batch_size: int = Field(
        8, ge=1, le=MOST, description="sequences per forward pass and rank"
    )
    max_length: int = Field(
        1024, ge=8, le=MOST, description="tokens; longer examples are truncated"
    )
    warmup_ratio: float = Field(
        0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises"
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="learning rate after warm-up; cosine and linear fall to 0"
    )
    weight_decay: float = Field(0.0, ge=0, description="of AdamW, decoupled")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="of AdamW")
    epsilon: float = Field(1e-8, ge=1e-30, le=1, description="of AdamW")
    max_grad_norm: float = Field(
        1.0, ge=1e-6, description="gradients of a larger norm are scaled down to it"
    )
    precision: Literal["fp32", "fp32_master", "bf16_pure"] = Field(
        "fp32_master",
        description="fp32_master: bfloat16 compute, float32 parameters and updates",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, more time"
    )
    processes: int = Field(
        1, ge=1, le=MOST, description="processes of one run, each on its own GPU if there are GPUs"
    )
    sharding: Literal["none", "fsdp"] = Field(
        "none",
        description="fsdp: processes share parameters, gradients and optimizer state; none: each "
        "has all of them",
    )
    checkpoint_every_s: float = Field(120.0, ge=0, description="seconds between resume points")
    select: Literal["last", "best_domain"] = Field(
        "last",
        description="weights that a run keeps; best_domain: those of the epoch with the highest "
        "accuracy on the domain's validation examples",
    )

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
    """General suite, as task name -> number of items (null: all), and how it is asked."""

    tasks: dict[str, int | None] = Field(
        default_factory=dict, description="task -> number of its items, or null for all"
    )
    batch_size: int = Field(
        32,
        ge=1,
        le=MOST,
        description="minimum number of prompts generated together; see batch_tokens",
    )
    batch_tokens: int = Field(
        4096,
        ge=1,
        le=MOST,
        description="tokens per pass, and of prompts and answers generated together if that allows "
        "more than batch_size; scores depend on it in the last digits",
    )
    dtype: Literal["bfloat16", "float32"] = Field(
        "bfloat16", description="type in which the model computes; weights are not rounded to it"
    )
    as_shipped: bool = Field(
        True,
        description="score the weights rounded to bfloat16, too, where no generation is needed "
        "(NLL and code length); with vllm all scores are of rounded weights",
    )
    max_length: int = Field(1024, ge=8, le=MOST, description="window in tokens")
    backend: Literal["hf", "vllm"] = Field("hf", description="vllm: for GPUs, installed separately")
    chat_template: bool = Field(
        False, description="put the general suite's prompts into the model's chat template"
    )
    cross_domain: bool = Field(
        False, description="score every run on the tests of all domains, not only of its own"
    )
    execute_code: bool = Field(
        False, description="let generated code run in the sandbox (human_eval, humaneval)"
    )
    kl_positions: int = Field(
        256,
        ge=0,
        le=100_000,
        description="positions of each domain's test prompts at which KL(θ0‖θ) is measured; 0: "
        "none, and none with vllm",
    )
    sampled_texts: int = Field(
        0,
        ge=0,
        le=10_000,
        description="texts sampled from θ0, on which the change of code length is compared with "
        "the exact KL(θ0‖θ); 0: none, and none with vllm",
    )
    sampled_tokens: int = Field(
        128, ge=2, le=MOST, description="tokens of each sampled text, at most"
    )

    @field_validator("tasks")
    @classmethod
    def _positive(cls, tasks: dict[str, int | None]) -> dict[str, int | None]:
        for name, limit in tasks.items():
            if limit is not None and not 1 <= limit <= MOST:
                raise ValueError(
                    f"task {shown(name)}: limit {limit} must be from 1 to {MOST}, or null for all"
                )
        return tasks

    @model_validator(mode="after")
    def _texts_fit(self) -> EvaluationSpec:
        if self.sampled_texts and self.sampled_tokens >= self.max_length:
            raise ValueError(
                f"sampled_tokens {self.sampled_tokens} do not fit the window of max_length "
                f"{self.max_length} after the start of a text; lower sampled_tokens"
            )
        return self
