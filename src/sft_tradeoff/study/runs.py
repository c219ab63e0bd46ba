"""Print the run table of a study, or write it.

It has one row per (model, domain, method, hyperparameters, learning rate, seed). Each run has a
resolved configuration, the only settings that training and evaluation read; they write it into
their results. No torch here: Snakemake imports this module while it plans.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_serializer,
)

from sft_tradeoff.domains.registry import AnyDomainSpec
from sft_tradeoff.models.spec import MODEL_RECIPE_VERSION
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.added_rates import planned_study
from sft_tradeoff.study.config import Study
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.study.spec import EvaluationSpec, MethodSpec, TrainingSpec
from sft_tradeoff.study.starts import is_start, start_of, starts_of
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_text
from sft_tradeoff.system.strict import Strict
from sft_tradeoff.system.validation import ConfigError

if TYPE_CHECKING:
    import pandas as pd

# Raise these when a change of the code changes the numbers: they are part of every resolved
# configuration, so Snakemake repeats exactly the jobs concerned.
TRAIN_RECIPE_VERSION = 2
EVALUATE_RECIPE_VERSION = 5
VALIDATION_KEYS = ("batch_size", "batch_tokens", "dtype", "max_length")  # of evaluation
TOKEN_TABLES = (
    *("token_probability.csv", "token_change.csv", "token_curriculum.csv", "token_paths.csv"),
)
DIVERGENCE_RECIPE_VERSION = 1
DIVERGENCE_KEYS = ("kl_positions", "sampled_texts", "sampled_tokens")  # of evaluation
LONGEST_RUN_NAME = 220  # file names have at most 255 bytes, temporary ones are up to 30 longer

C = TypeVar("C", bound=Strict)
# Left out of a configuration where it is off, so that no earlier run is repeated for it.
RecordTokens = Annotated[bool, Field(exclude_if=lambda on: not on)]


class ValidationConfig(Strict):
    """How the weights of every epoch are scored on the validation examples.

    Of the evaluation only what these scores depend on is kept, so that no training is repeated for
    anything else.
    """

    evaluation: EvaluationSpec
    recipe_version: int = EVALUATE_RECIPE_VERSION

    @field_serializer("evaluation")
    def _of_validation(self, spec: EvaluationSpec) -> dict[str, Any]:
        return {key: getattr(spec, key) for key in VALIDATION_KEYS}


class RunConfig(Strict):
    """Everything that determines one training run."""

    run: str
    model: str
    model_digest: str
    domain: AnyDomainSpec
    method: MethodSpec
    learning_rate: float
    seed: int
    training: TrainingSpec
    merge_of: str | None = Field(None, description="run whose weights are averaged with θ0's")
    validation: ValidationConfig | None = Field(None, description="None: the last weights are kept")
    record_tokens: RecordTokens = False
    recipe_version: int = TRAIN_RECIPE_VERSION

    @property
    def needs_reference(self) -> bool:
        """Whether this run reads θ0's per-token losses."""
        options = METHODS[self.method.name].options(**self.method.options)
        return self.record_tokens or "reference_nll" in options.needs


class DivergenceConfig(Strict):
    """How far from θ0 a model is: what is measured besides its scores.

    Args:
        kl_positions: Positions of each domain's test prompts; 0: none.
        sampled_texts: Texts sampled from θ0; 0: none.
        sampled_tokens: Tokens of each, at most.
        recipe_version: Raised when the numbers change.
    """

    kl_positions: int
    sampled_texts: int
    sampled_tokens: int
    recipe_version: int = DIVERGENCE_RECIPE_VERSION


class Start(Strict):
    """A run that θ0's weights come from."""

    run: str
    model: str
    domain: str = Field(description="label")


class EvaluationConfig(Strict):
    """Everything that determines one evaluation.

    Where no divergence is measured its settings are left out, so that evaluations made before it
    could be are not repeated.
    """

    run: str
    model: str
    model_digest: str
    domains: tuple[AnyDomainSpec, ...]
    evaluation: EvaluationSpec
    expected: dict[str, tuple[float, float]] = Field(default_factory=dict)
    record_tokens: RecordTokens = False
    divergence: DivergenceConfig | None = Field(None, description="None: it is not measured")
    starts: tuple[Start, ...] = Field(
        (),
        exclude_if=lambda starts: not starts,
        description="runs that θ0's weights come from, the first one first",
    )
    recipe_version: int = EVALUATE_RECIPE_VERSION

    @field_serializer("evaluation")
    def _of_scores(self, spec: EvaluationSpec) -> dict[str, Any]:
        return spec.model_dump(mode="json", exclude=set(DIVERGENCE_KEYS))

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return content if self.divergence else {k: content[k] for k in content if k != "divergence"}


def read_config(model: type[C], text: str) -> C:
    """Read a resolved configuration from JSON text or from a file."""
    return model.model_validate_json(text if text.startswith("{") else Path(text).read_text())


def base_run(model: str) -> str:
    """Return the name of the untrained model θ0 in the run table."""
    return f"{model}.base"


def expand_runs(study: Study) -> list[RunConfig]:
    """Expand a study to its training runs, in a stable order.

    Raises:
        ConfigError: If two runs differ only in their label, or a run's name is too long.
    """
    runs = []
    digests = {model: model_digest(study, model) for model in study.models}
    for model, domain, method in itertools.product(study.models, study.domains, study.methods):
        rates = study.rates(model, str(domain.label), method)
        for rate, seed in itertools.product(rates, study.seeds):
            setting = model, str(domain.label), str(method.label), rate, seed
            if domain.label in study.start_only and not is_start(study, setting):
                continue
            runs.append(_run_config(study, digests[model], domain, method, setting))
    _refuse_duplicates(study, runs)
    return runs


def _run_config(
    study: Study,
    digest: str,
    domain: AnyDomainSpec,
    method: MethodSpec,
    setting: tuple[str, str, str, float, int],
) -> RunConfig:
    model, label, _, rate, seed = setting
    trained = study.trained_method(method)
    return RunConfig(
        run=_run_name(method, model, label, rate, seed),
        merge_of=None if trained is method else _run_name(trained, model, label, rate, seed),
        model=model,
        model_digest=digest,
        domain=domain,
        method=method,
        learning_rate=rate,
        seed=seed,
        training=study.training,
        validation=None if trained is not method else _validation(study),
        record_tokens=study.record_tokens and trained is method,
    )


def start_run(study: Study, model: str) -> RunConfig | None:
    """The run that a model starts from; None for a pretrained model."""
    if (start := start_of(study, model)) is None:
        return None
    domain = next(d for d in study.domains if d.label == start.domain)
    method = next(m for m in study.methods if m.label == start.method)
    rates = study.rates(start.model, start.domain, method)
    # As the grid spells it: 1.0000000000001e-5 has the name of 1e-5.
    text = format_learning_rate(start.learning_rate)
    rate = next(r for r in rates if format_learning_rate(r) == text)
    setting = start.model, start.domain, start.method, rate, start.seed
    return _run_config(study, model_digest(study, start.model), domain, method, setting)


def model_digest(study: Study, name: str) -> str:
    """Return a hash of a model's sources, so that a different θ0 repeats all that used it.

    The source of a model that starts from a run is that run's resolved configuration.
    """
    spec, run = study.model_catalogue[name], start_run(study, name)
    if run is not None:
        text = f"{MODEL_RECIPE_VERSION} {run.model_dump_json()}"
    else:
        asset = study.assets[spec.asset] if spec.asset else None
        text = f"{MODEL_RECIPE_VERSION} {spec.model_dump_json(exclude={'expected'})}"
        text += asset.model_dump_json() if asset else ""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _starts(study: Study, model: str) -> tuple[Start, ...]:
    """The runs that a model's θ0 comes from, the first one first."""
    if (run := start_run(study, model)) is None:
        return ()
    start = Start(run=run.run, model=run.model, domain=str(run.domain.label))
    return (*_starts(study, run.model), start)


def _validation(study: Study) -> ValidationConfig | None:
    """How the epochs of a study's runs are scored; None if the last weights are kept.

    As in its evaluations, but always with Transformers: vLLM would claim the memory of training.
    """
    if study.training.select == "last":
        return None
    chosen = {key: getattr(study.evaluation, key) for key in VALIDATION_KEYS}
    return ValidationConfig(evaluation=EvaluationSpec(**chosen))


def _run_name(method: MethodSpec, model: str, domain: str, rate: float, seed: int) -> str:
    return f"{model}.{domain}.{method.label}.lr{format_learning_rate(rate)}.seed{seed}"


def _refuse_duplicates(study: Study, runs: list[RunConfig]) -> None:
    """Refuse two labels for one setting, which would train the same run twice."""
    seen: dict[str, str] = {}
    for run in runs:
        if len(run.run) > LONGEST_RUN_NAME:
            raise ConfigError(
                f"study {study.study!r}: the name of run {run.run!r} has {len(run.run)} "
                f"characters, more than {LONGEST_RUN_NAME}, and is the name of a folder; shorten "
                f"the name of model {run.model!r}, or set a shorter 'label' for domain "
                f"{run.domain.label!r} or method {run.method.label!r}"
            )
        content = run.model_copy(
            update={
                "run": "",
                "domain": run.domain.model_copy(update={"label": None}),
                "method": run.method.model_copy(update={"label": None}),
            }
        ).model_dump_json()
        if content in seen:
            raise ConfigError(
                f"study {study.study!r}: runs {seen[content]!r} and {run.run!r} differ only in "
                "their label; remove one"
            )
        seen[content] = run.run


def evaluation_configs(study: Study) -> dict[str, EvaluationConfig]:
    """Return the evaluations: θ0 on every domain, each run on its own, both on the suite.

    With ``evaluation.cross_domain`` each run is evaluated on every domain, too. Runs of a model
    that starts from a run are evaluated on what that one was trained on, which may be forgotten.
    """
    starts = {model: _starts(study, model) for model in study.models}
    configs = {
        base_run(model): EvaluationConfig(
            run=base_run(model),
            model=model,
            model_digest=model_digest(study, model),
            domains=study.domains,
            evaluation=study.evaluation,
            starts=starts[model],
            # The expected scores are for plain prompts only.
            expected={}
            if study.evaluation.chat_template
            else study.model_catalogue[model].expected,
            record_tokens=study.record_tokens,
            divergence=divergence_config(study),
        )
        for model in study.models
    }
    for run in expand_runs(study):
        configs[run.run] = EvaluationConfig(
            run=run.run,
            model=run.model,
            model_digest=run.model_digest,
            domains=_tested(study, run),
            evaluation=study.evaluation,
            record_tokens=study.record_tokens,
            divergence=divergence_config(study),
            starts=starts[run.model],
        )
    return configs


def divergence_config(study: Study) -> DivergenceConfig | None:
    """What is measured of each run's distance from θ0; None: nothing, as always with vLLM."""
    spec = study.evaluation
    if spec.backend == "vllm" or not (spec.kl_positions or spec.sampled_texts):
        return None
    found = {key: getattr(spec, key) for key in DIVERGENCE_KEYS}
    if not spec.sampled_texts:
        found["sampled_tokens"] = 0  # no evaluation depends on it
    return DivergenceConfig(**found)


def _tested(study: Study, run: RunConfig) -> tuple[AnyDomainSpec, ...]:
    """Domains that a run is scored on."""
    if study.is_crossed:
        return study.domains
    labels = {run.domain.label, *(start.domain for start in starts_of(study, run.model))}
    return tuple(domain for domain in study.domains if domain.label in labels)


def aggregated_tables(study: Study) -> tuple[str, ...]:
    """File names of the tables that aggregation makes from the runs of a study."""
    epochs = ("epochs.csv",) if study.training.select == "best_domain" else ()
    n_talr = sum(method.name == "talr" for method in study.methods)
    options = ("talr_options.csv",) if n_talr > 2 else ()  # two are easily told apart elsewhere
    tokens = TOKEN_TABLES if study.record_tokens else ()
    return ("scores.csv", "tradeoff.csv", "tradeoff_over_seeds.csv", *epochs, *options, *tokens)


def weighing_methods(study: Study) -> list[MethodSpec]:
    """The methods of a study that weigh tokens, for the stage ``answer-weights``."""
    return [method for method in study.methods if METHODS[method.name].weights is not None]


def answer_weight_files(study: Study) -> list[str]:
    """Relative paths of the tables of that stage; none if no method weighs tokens."""
    weighed = {method.label for method in weighing_methods(study)}
    places = {(r.model, r.domain.label) for r in expand_runs(study) if r.method.label in weighed}
    return [f"answer_weights/{model}.{domain}.csv" for model, domain in sorted(places)]


def run_table(study: Study) -> pd.DataFrame:
    """Return one row per run, θ0 included, with the columns that tables and figures group by."""
    import pandas as pd  # takes half a second, and training does not need it

    columns = ["run", "model", "domain", "method", "label", "learning_rate", "seed"]
    rows: list[tuple[Any, ...]] = [
        (base_run(model), model, None, "base", "base", None, None) for model in study.models
    ]
    rows += [
        (r.run, r.model, r.domain.label, r.method.name, r.method.label, r.learning_rate, r.seed)
        for r in expand_runs(study)
    ]
    return pd.DataFrame(rows, columns=columns)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff runs``."""
    parser.add_argument("--study", required=True, help="study file, or a resolved study as JSON")
    parser.add_argument("--out", type=Path, help="CSV to write; default: print the table")


def main(args: argparse.Namespace) -> None:
    """Print or write the run table of a study."""
    with run_main("runs"):
        inline = args.study.startswith("{")
        study = Study.model_validate_json(args.study) if inline else planned_study(args.study)
        if args.out:
            atomic_write_text(args.out, run_table(study).to_csv(index=False), checksum=True)
        else:
            print(run_table(study).to_string(index=False))
