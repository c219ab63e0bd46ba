"""Studies: the single source of all settings, checked before any job starts.

A study file names models, domains, methods, learning rates and seeds. It is parsed into the frozen
models below, which also generate ``workflow/schemas/study.schema.json``
(``sft-tradeoff check --write-schema``). No torch here: Snakemake imports this module to plan jobs.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from sft_tradeoff.assets.spec import Asset
from sft_tradeoff.domains.registry import AnyDomainSpec
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.study.spec import (
    AddedRate,
    EvaluationSpec,
    LearningRates,
    MethodSpec,
    RefineSpec,
    SmallestGainSpec,
    ToleranceSpec,
    TrainingSpec,
)
from sft_tradeoff.study.starts import check_starts, starts_of
from sft_tradeoff.system.strict import Name, Seed, Settings
from sft_tradeoff.system.strict_yaml import read_yaml
from sft_tradeoff.system.text import listing, shown
from sft_tradeoff.system.validation import ConfigError, closest, explain

SCHEMA_PATH = Path("workflow/schemas/study.schema.json")
CATALOGUE_PATH = Path("config/catalogue.yaml")
STUDIES = Path("config/studies")
TEMPLATE_PATH = STUDIES / "own.yaml"  # of studies for the user's own data
MOST_RUNS = 10_000  # Snakemake plans each in several jobs
SUITE = "general"  # name of the group of tasks in lm-eval


class Study(Settings):
    """One study: what it trains and measures. See ``config/README.md`` for the keys."""

    study: Name
    description: str = ""
    models: tuple[Name, ...] = Field(min_length=1)
    domains: tuple[AnyDomainSpec, ...] = Field(min_length=1)
    methods: tuple[MethodSpec, ...] = Field(min_length=1)
    learning_rates: LearningRates
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    refine: RefineSpec | None = Field(
        None,
        exclude=True,
        description="add learning rates near the tolerance; null: learning_rates only",
    )
    added_rates: tuple[AddedRate, ...] = Field(
        (), description="further rates of single methods; refine keeps those it adds in results"
    )
    start_only: tuple[str, ...] = Field(
        (),
        exclude_if=lambda labels: not labels,
        description="labels of domains that only the runs are trained on from which a model starts",
    )
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    keep_models: bool = Field(False, description="keep the weights of every run")
    record_tokens: bool = Field(
        False,
        exclude=True,  # the runs say so themselves
        description="keep the loss of single tokens: of the test's right answers, and of the "
        "training responses at every step",
    )
    tolerance: ToleranceSpec = Field(
        {},
        exclude=True,  # like the next two: no run depends on it
        description="largest general loss allowed: bits_per_byte and/or accuracy (a fraction)",
    )
    smallest_gain: SmallestGainSpec = Field(
        {},
        exclude=True,
        description="smallest gain on the domain for which one method is preferred to another: "
        "accuracy (a fraction) and/or nll (nats per token)",
    )
    results_source: Literal["fresh", "published"] = Field(
        "fresh", exclude=True, description="published: draw results/published, compute nothing"
    )
    assets: dict[Name, Asset] = Field(default_factory=dict)
    model_catalogue: dict[Name, ModelSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _grids(self) -> Study:
        settings = sum(math.prod(map(len, method.grid.values())) for method in self.methods)
        rates = max(len(self.learning_rates.full), len(self.learning_rates.adapter))
        n_runs = len(self.models) * len(self.domains) * settings * rates * len(self.seeds)
        n_runs += len(self.added_rates) * len(self.seeds)
        if n_runs > MOST_RUNS:
            raise ValueError(
                f"{n_runs:,} runs, more than {MOST_RUNS:,}: every model, domain, method, setting "
                "of a grid, learning rate and seed with every other; shorten one of these lists"
            )
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
        if self.record_tokens and self.evaluation.backend != "hf":
            raise ValueError(
                f"record_tokens: true, but evaluation.backend {self.evaluation.backend!r} does not "
                "give the entropy and rank of a token; set it to hf, or record_tokens to false"
            )
        _refuse_repeats("models", self.models, str)
        _refuse_repeats("domains (label)", [d.label for d in self.domains], str)
        _refuse_repeats("methods (label)", [m.label for m in self.methods], str)
        _refuse_repeats("seeds", self.seeds, str)
        for kind in ("full", "adapter"):
            rates = getattr(self.learning_rates, kind)
            _refuse_repeats(f"learning_rates.{kind}", rates, format_learning_rate)
        added = [rate.learning_rate for rate in self.added_rates]
        grids = [*self.learning_rates.full, *self.learning_rates.adapter]
        highest = max([*grids, *added], default=0)
        if (shrinkage := self.training.weight_decay * highest) >= 1:
            raise ValueError(
                f"training.weight_decay: {self.training.weight_decay:g} times the learning rate "
                f"{highest:g} is {shrinkage:g}, the share of every weight that a step removes; "
                "lower one of them so that it is below 1"
            )
        for method in self.methods:
            kind = METHODS[self.trained_method(method).name].parameterization
            if not getattr(self.learning_rates, kind):
                raise ValueError(
                    f"learning_rates.{kind} is empty but method {method.name!r} needs it; "
                    f"add e.g. 'learning_rates: {{{kind}: [1.0e-5]}}'"
                )
        self._check_added_rates()
        check_starts(self)
        return self

    @property
    def is_crossed(self) -> bool:
        """Whether all runs are scored on domains that they were not trained on."""
        return self.evaluation.cross_domain and len(self.domains) > 1

    @property
    def scores_other_domains(self) -> bool:
        """Whether some runs are scored on domains that they were not trained on themselves.

        A model that starts from a run is scored on what that run was trained on, too.
        """
        return self.is_crossed or any(starts_of(self, model) for model in self.models)

    @property
    def compared_domains(self) -> list[AnyDomainSpec]:
        """The domains that every model is trained on with every method."""
        return [domain for domain in self.domains if domain.label not in self.start_only]

    def _check_added_rates(self) -> None:
        trained = [str(m.label) for m in self.methods if METHODS[m.name].merge is None]
        known = {
            "model": self.models,
            "domain": [str(domain.label) for domain in self.compared_domains],
            "method that trains": trained,
        }
        for i, rate in enumerate(self.added_rates):
            for what, names in known.items():
                key = what.split()[0]
                if (name := getattr(rate, key)) not in names:
                    raise ValueError(
                        f"added_rates.{i}.{key}: {shown(name)} is not a {what} in this study; "
                        f"{closest(name, names)}"
                    )

    def rates(self, model: str, domain: str, method: MethodSpec) -> Sequence[float]:
        """Return the learning rates of a method: its grid, and those added for it.

        An average has the rates of the method that it averages.
        """
        trained = self.trained_method(method)
        grid = getattr(self.learning_rates, METHODS[trained.name].parameterization)
        key = model, domain, trained.label
        added = [r.learning_rate for r in self.added_rates if key == (r.model, r.domain, r.method)]
        names = {format_learning_rate(rate): rate for rate in (*added, *grid)}
        return sorted(names.values()) if added else grid

    def trained_method(self, method: MethodSpec) -> MethodSpec:
        """Return the method that trains the weights: itself, or the one that it averages."""
        if METHODS[method.name].merge is None:
            return method
        trained = {str(m.label): m for m in self.methods if METHODS[m.name].merge is None}
        source = method.options["of"]
        labels = [m.label for m in self.methods]
        if source in labels and source not in trained:
            raise ValueError(
                f"methods: {method.label!r} averages {source!r}, which is an average itself; set "
                f"options.of to a method that trains: {listing(trained)}"
            )
        if source not in trained:
            add = f"add '- name: {source}', or " if source in METHODS else ""
            raise ValueError(
                f"methods: {method.label!r} averages θ0 with the run of {shown(source)}, which "
                f"this study does not train; {add}set options.of to one of "
                f"{listing(trained) if trained else 'its other methods'}"
            )
        return trained[source]


def _refuse_repeats(key: str, values: Iterable[Any], name: Callable[[Any], str]) -> None:
    """Refuse values that look the same in the names of runs."""
    found: dict[str, Any] = {}
    for value in values:
        if (text := name(value)) in found:
            what = (
                f"{value!r} appears twice"
                if found[text] == value
                else f"{found[text]!r} and {value!r} are both {text} in the names of runs"
            )
            raise ValueError(
                f"{key}: {what}, which would make duplicate runs; remove one"
                + (" or give it another 'label'" if key.endswith("(label)") else "")
            )
        found[text] = value


def parse_study(data: Mapping[str, Any], source: str) -> Study:
    """Validate the content of a study file together with the catalogue's models and assets.

    Args:
        data: The merged YAML mapping.
        source: Name of the file, for error messages.

    Raises:
        ConfigError: Naming the file, each wrong key, its value and the fix.
    """
    catalogue = read_catalogue()
    merged = {
        **data,
        "assets": _added(catalogue["assets"], data.get("assets")),
        "model_catalogue": _added(catalogue["models"], data.get("model_catalogue")),
    }
    try:
        return Study.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"{source}:\n  {explain(error, _schema())}") from None


def read_catalogue() -> dict[str, dict[str, Any]]:
    """Read the models and assets that every study can name, under ``models`` and ``assets``.

    Raises:
        ConfigError: If the file has another form, or this is not the project's folder.
    """
    try:
        catalogue = read_yaml(CATALOGUE_PATH)
    except FileNotFoundError:
        raise ConfigError(
            f"{CATALOGUE_PATH}: not found in {Path.cwd()}; run the command in the project's folder"
        ) from None
    parts = ("assets", "models")
    if not isinstance(catalogue, dict) or set(catalogue) != set(parts):
        raise ConfigError(f"{CATALOGUE_PATH}: needs exactly the keys 'assets' and 'models'")
    for part in parts:
        if not isinstance(catalogue[part], dict):
            raise ConfigError(f"{CATALOGUE_PATH}: {part}: must map names to entries")
    return catalogue


def _added(known: dict[str, Any], own: Any) -> Any:
    """Merge the catalogue's entries and the study's; validation reports what is not a mapping."""
    return {**known, **(own or {})} if own is None or isinstance(own, Mapping) else own


def load_study(path: str | Path) -> Study:
    """Read and validate a study file; see :func:`parse_study`.

    Raises:
        ConfigError: Also if there is no such file; the message names similar ones.
    """
    try:
        data = read_yaml(path)
    except FileNotFoundError:
        raise ConfigError(_no_study(Path(path))) from None
    if not isinstance(data, dict):
        found = "it is empty" if data is None else f"this is {shown(data)}"
        raise ConfigError(
            f"{path}: a study is made of 'key: value' lines, but {found}; begin with a "
            f"copy of {STUDIES}/quick.yaml"
        )
    return parse_study(data, str(path))


def _no_study(path: Path) -> str:
    names = [other.stem for other in path.parent.glob("*.yaml")]
    if not names:
        return (
            f"{path}: not found, and there is no other study in this folder (relative to "
            f"{Path.cwd()}); run the command in the project's folder"
        )
    return f"{path}: no such study; {closest(path.stem, names)}"


@functools.cache
def _schema() -> dict[str, Any]:
    return Study.model_json_schema()


def study_schema() -> str:
    """Return the JSON schema of a study file as text."""
    return json.dumps(_schema(), indent=2, ensure_ascii=False) + "\n"
