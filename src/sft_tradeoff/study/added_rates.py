"""Learning rates that refinement has added to a study, kept beside its results.

The study file stays the user's: what ``sft-tradeoff refine`` plans is in
``results/<study>/added_rates.yaml``. Whoever expands a study to runs reads both, plain Snakemake
included. No torch here: Snakemake imports this module while it plans.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.config import Study, load_study
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.study.spec import AddedRate
from sft_tradeoff.system.files import atomic_write_text, damaged, verify_checksum
from sft_tradeoff.system.strict_yaml import read_yaml
from sft_tradeoff.system.text import listing
from sft_tradeoff.system.validation import ConfigError

logger = logging.getLogger(__name__)

RESULTS = Path("results")
FILE = "added_rates.yaml"
HEADER = (
    "# Learning rates that sft-tradeoff refine added to the study's. To start over, delete this\n"
    "# file: runs that are finished are not repeated when their rates are added again.\n"
)


class PlannedRate(AddedRate):
    """A rate with the reason for it."""

    round: int = Field(ge=1, description="in which it was added")
    tolerance: str = Field(description="that it is to find the largest rate for")


def planned_study(path: str | Path) -> Study:
    """Read a study file, with the rates that refinement has added so far.

    Raises:
        ConfigError: See :func:`~.config.load_study`.
        DamagedFileError: If the added rates are not as they were written.
    """
    return with_added_rates(load_study(path))


def with_added_rates(study: Study, results: Path | None = None) -> Study:
    """Return a study with the rates that refinement has added so far; without ``refine``, itself.

    Rates of models, domains and methods that the study no longer has are left out, with a warning.

    Args:
        study: The study file's content.
        results: Its results; default: ``results/<study>``.
    """
    if study.refine is None:
        return study
    planned = read_planned(results or RESULTS / study.study)
    known = [rate for rate in planned if _is_known(study, rate)]
    if gone := [_name(rate) for rate in planned if rate not in known]:
        logger.warning("added rates that this study no longer has: %s", listing(gone))
    added = [rate.model_dump(include=set(AddedRate.model_fields)) for rate in known]
    rates = *study.added_rates, *(AddedRate(**rate) for rate in added)
    return study.model_copy(update={"added_rates": tuple(dict.fromkeys(rates))})


def _is_known(study: Study, rate: AddedRate) -> bool:
    trained = [m.label for m in study.methods if METHODS[m.name].merge is None]
    domains = [domain.label for domain in study.compared_domains]
    return rate.model in study.models and rate.domain in domains and rate.method in trained


def _name(rate: AddedRate) -> str:
    rate_text = format_learning_rate(rate.learning_rate)
    return f"{rate.model}, {rate.domain}, {rate.method} at {rate_text}"


def with_most_rates(study: Study) -> Study:
    """Return a study with as many rates as refinement can add: two per method and round.

    Their values mean nothing; they are for estimates of cost.
    """
    assert study.refine is not None
    added = [
        AddedRate(model=model, domain=domain, method=str(method.label), learning_rate=rate)
        for model in study.models
        for domain in (str(domain.label) for domain in study.compared_domains)
        for method in study.methods
        if METHODS[method.name].merge is None
        for rate in _unused(study.rates(model, domain, method), 2 * study.refine.rounds)
    ]
    return study.model_copy(update={"added_rates": (*study.added_rates, *added)})


def _unused(rates: Sequence[float], n: int) -> list[float]:
    top = max(rates)
    return [top + (1 - top) * (i + 1) / (n + 1) for i in range(n)]


def read_planned(results: Path) -> list[PlannedRate]:
    """Read the rates that refinement has added to a study, in the order in which it did.

    Raises:
        DamagedFileError: If the file is not as it was written.
    """
    path = results / FILE
    if not path.is_file():
        return []
    verify_checksum(path)
    try:
        return TypeAdapter(list[PlannedRate]).validate_python(read_yaml(path)["added_rates"])
    except (ConfigError, ValidationError, LookupError, TypeError) as error:
        raise damaged(path, error) from None


def write_planned(results: Path, planned: Sequence[PlannedRate]) -> None:
    """Write the rates that refinement has added, atomically."""
    content = {"added_rates": [rate.model_dump(mode="json") for rate in planned]}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    atomic_write_text(results / FILE, HEADER + text, checksum=True)
