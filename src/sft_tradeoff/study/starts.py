"""Models that start from a run of the same study: checks, and where their weights come from.

No torch here: Snakemake imports this module while it plans.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.system.text import listing, shown
from sft_tradeoff.system.validation import closest

if TYPE_CHECKING:
    from sft_tradeoff.models.spec import StartFrom
    from sft_tradeoff.study.config import Study


def start_of(study: Study, model: str) -> StartFrom | None:
    """The run that a model starts from; None for a pretrained model."""
    return study.model_catalogue[model].start_from


def started(study: Study) -> list[str]:
    """The study's models that start from a run."""
    return [model for model in study.models if start_of(study, model)]


def starts_of(study: Study, model: str) -> list[StartFrom]:
    """The runs that a model's θ0 comes from, in the order in which they are trained."""
    chain = []
    while start := start_of(study, model):
        chain.append(start)
        model = start.model
    return chain[::-1]


def root_of(study: Study, model: str) -> str:
    """The pretrained model that a model's θ0 comes from: itself, if it starts from no run."""
    chain = starts_of(study, model)
    return chain[0].model if chain else model


def is_start(study: Study, setting: tuple[str, str, str, float, int]) -> bool:
    """Whether a model starts from a run.

    Args:
        study: The study.
        setting: Model, label of the domain, label of the method, learning rate and seed.
    """
    return _name(*setting) in {_name(*_setting(study, model)) for model in started(study)}


def _setting(study: Study, model: str) -> tuple[str, str, str, float, int]:
    start = start_of(study, model)
    assert start is not None
    return start.model, start.domain, start.method, start.learning_rate, start.seed


def _name(model: str, domain: str, method: str, rate: float, seed: int) -> tuple[object, ...]:
    return model, domain, method, format_learning_rate(rate), seed


def check_starts(study: Study) -> None:
    """Refuse a start that is no run of the study, circles, and domains that nothing trains on.

    Args:
        study: A study whose other references are valid.

    Raises:
        ValueError: Naming key, value and fix.
    """
    for model in started(study):
        _check_names(study, model)
        _refuse_circle(study, model)
    for model in started(study):
        _check_rate(study, model)
    _check_start_only(study)


def _check_names(study: Study, model: str) -> None:
    start = start_of(study, model)
    assert start is not None
    known: dict[str, tuple[str, Iterable[str]]] = {
        "model": ("model", study.models),
        "domain": ("domain", [str(domain.label) for domain in study.domains]),
        "method": ("method", [str(method.label) for method in study.methods]),
        "seed": ("seed", map(str, study.seeds)),
    }
    for key, (what, names) in known.items():
        value = str(getattr(start, key))
        if value not in (names := list(names)):
            raise ValueError(
                f"{_key(model)}.{key}: {shown(value)} is not a {what} of this study; "
                f"{closest(value, names)}"
            )
    merged = {str(m.label) for m in study.methods if METHODS[m.name].merge is not None}
    if start.method in merged:
        trained = [str(m.label) for m in study.methods if m.label not in merged]
        raise ValueError(
            f"{_key(model)}.method: {shown(start.method)} averages weights and trains none; "
            f"choose a method that trains: {listing(trained)}"
        )


def _refuse_circle(study: Study, model: str) -> None:
    passed = [model]
    while start := start_of(study, passed[-1]):
        if start.model not in study.models:
            return  # reported where it stands
        if start.model in passed:
            way = " -> ".join([*passed, start.model])
            raise ValueError(
                f"{_key(model)}: a circle, in which no run can be the first ({way}: each starts "
                "from a run of the next); let one of them start from a pretrained model"
            )
        passed.append(start.model)


def _check_rate(study: Study, model: str) -> None:
    start = start_of(study, model)
    assert start is not None
    method = next(m for m in study.methods if m.label == start.method)
    rates = [format_learning_rate(r) for r in study.rates(start.model, start.domain, method)]
    if (rate := format_learning_rate(start.learning_rate)) not in rates:
        raise ValueError(
            f"{_key(model)}.learning_rate: {rate} is not a learning rate of {start.method!r} in "
            f"this study; choose one of {listing(rates)}, or add it to learning_rates"
        )


def _check_start_only(study: Study) -> None:
    labels = [str(domain.label) for domain in study.domains]
    for label in study.start_only:
        if label not in labels:
            raise ValueError(
                f"start_only: {shown(label)} is not a domain of this study; "
                f"{closest(label, labels)}"
            )
        if all(_setting(study, model)[1] != label for model in started(study)):
            raise ValueError(
                f"start_only: no model starts from a run on {shown(label)}, so nothing would be "
                "trained on it; remove it here or from 'domains', or name it in a 'start_from'"
            )
    if not set(labels) - set(study.start_only):
        raise ValueError(
            "start_only: names all domains, so that no run would be compared; leave out the "
            "domains that the started models are trained on"
        )


def _key(model: str) -> str:
    return f"model_catalogue.{model}.start_from"
