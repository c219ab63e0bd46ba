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
from pydantic import Field, ValidationError, model_validator

from sft_tradeoff.benchmarks import BENCHMARKS, Benchmark
from sft_tradeoff.benchmarks.human_eval import NO_PERMISSION
from sft_tradeoff.config_errors import closest, explain
from sft_tradeoff.console import UserError
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.specs import (
    MODEL_RECIPE_VERSION,
    Asset,
    DomainSpec,
    EvaluationSpec,
    LearningRates,
    MethodSpec,
    ModelSpec,
    Name,
    Strict,
    ToleranceSpec,
    TrainingSpec,
)

SCHEMA_PATH = Path("workflow/schemas/study.schema.json")
CATALOGUE_PATH = Path("config/catalogue.yaml")


class ConfigError(UserError, ValueError):
    """A setting is wrong; the message names file, key, value and fix."""


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
    tolerance: ToleranceSpec = Field(
        {},
        exclude=True,  # like the next: no run depends on it
        description="largest general loss allowed: bits_per_byte and/or accuracy (a fraction)",
    )
    results_source: Literal["fresh", "published"] = Field(
        "fresh", exclude=True, description="published: draw results/published, compute nothing"
    )
    assets: dict[Name, Asset] = Field(default_factory=dict)
    model_catalogue: dict[Name, ModelSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _grids(self) -> Study:
        methods = tuple(m for method in self.methods for m in method.expanded())
        object.__setattr__(self, "methods", methods)
        return self

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
            kind = METHODS[self.trained_method(method).name].parameterisation
            if not getattr(self.learning_rates, kind):
                raise ValueError(
                    f"learning_rates.{kind} is empty but method {method.name!r} needs it; "
                    f"add e.g. 'learning_rates: {{{kind}: [1.0e-5]}}'"
                )
        return self

    def trained_method(self, method: MethodSpec) -> MethodSpec:
        """Return the method whose runs hold the trained weights: itself, or what it averages."""
        if METHODS[method.name].merge is None:
            return method
        trained = {str(m.label): m for m in self.methods if METHODS[m.name].merge is None}
        source = method.options["of"]
        labels = [m.label for m in self.methods]
        if source in labels and source not in trained:
            raise ValueError(
                f"methods: {method.label!r} averages {source!r}, which is an average itself; set "
                f"options.of to a method that trains: {', '.join(trained) or 'there is none'}"
            )
        if source not in trained:
            raise ValueError(
                f"methods: {method.label!r} averages θ0 with the run of {source!r}, which this "
                f"study does not train; add '- name: {source}', or set options.of to one of "
                f"{', '.join(trained) or 'its other methods'}"
            )
        return trained[source]

    def model_digest(self, name: str) -> str:
        """Hash of what a model is made of, so that another θ0 repeats whatever used it."""
        spec = self.model_catalogue[name]
        asset = self.assets[spec.asset] if spec.asset else None
        text = f"{MODEL_RECIPE_VERSION} {spec.model_dump_json(exclude={'expected'})}"
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


def check_files(study: Study, source: str, benchmarks: Mapping[str, Benchmark]) -> None:
    """Check what a study refers to outside itself, before any job.

    Args:
        study: A valid study.
        source: Name of its file; the results' folder must have the same name.
        benchmarks: Known general benchmarks, by name.

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
        if benchmarks[name].runs_code and not study.evaluation.execute_code:
            raise ConfigError(f"{source}: {NO_PERMISSION.format(name=name)}")
        if name == "gsm8k" and any(domain.name == "math" for domain in study.domains):
            raise ConfigError(
                f"{source}: evaluation.tasks: 'gsm8k' tests what the domain 'math' trains, so it "
                "is no general ability here; take it out"
            )
        wanted = benchmarks[name].chat_template
        if wanted is not None and wanted != study.evaluation.chat_template:
            raise ConfigError(
                f"{source}: evaluation.chat_template: {str(not wanted).lower()}, but the prompts "
                f"of task {name!r} need {str(wanted).lower()}; set it, or choose another task"
            )
    suite = [benchmarks[name] for name in study.evaluation.tasks]
    measured = {
        "bits_per_byte": any(task.kind == "text" for task in suite),
        "accuracy": any(task.accuracy for task in suite),
    }
    for measure in study.tolerance:
        if not measured[measure]:
            raise ConfigError(
                f"{source}: tolerance: {measure} is measured by none of evaluation.tasks; take it "
                "out, or add a task that does"
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
    from sft_tradeoff.domains.material import check_domains  # which imports this module

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", help="study files to validate")
    parser.add_argument("--write-schema", action="store_true", help=f"write {SCHEMA_PATH}")
    args = parser.parse_args()
    if args.write_schema:
        SCHEMA_PATH.parent.mkdir(parents=True, exist_ok=True)
        SCHEMA_PATH.write_text(study_schema())
    try:
        for path in args.studies:
            study = load_study(path)
            check_files(study, path, BENCHMARKS)
            check_domains(study, path)
            print(f"{path}: valid study {study.study!r}")
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
