"""The numerical noise floor of θ0's scores: how it is stored, and what it applies to.

A study's results hold one file per model, ``noise_floor/<model>.json``: benchmark -> metric ->
``floor`` (the largest difference from θ0's own score, in the metric's unit), θ0's ``score``, and
the difference of each of the ``variants`` that were scored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from sft_tradeoff.analysis.run_records import Items, Key, NonNegative
from sft_tradeoff.analysis.tables import SHIPPED
from sft_tradeoff.stats.estimates import ratio_estimate
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import atomic_write_json, damaged, read_json

TOKEN_CHANGE = "token_change"  # a metric: mean |Δ log p| of single tokens, nats; θ0's own is 0
_PLAIN = {shipped: metric for metric, shipped in SHIPPED.items()}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NoiseFloor:
    """Numerical noise of one score.

    Args:
        floor: Largest of the differences; NaN if one is not finite.
        score: θ0's own score, which the others are compared with.
        variants: What was changed -> absolute difference of the score.
    """

    floor: NonNegative
    score: float
    variants: dict[str, NonNegative]


Floors = Mapping[Key, NoiseFloor]
UNMEASURED: Floors = MappingProxyType({})
_FILE = TypeAdapter(dict[str, dict[str, NoiseFloor]])


def noise_floor_path(runs: Path, model: str) -> Path:
    """File of a model's noise floor, beside the folder of a study's runs."""
    return runs.parent / "noise_floor" / f"{model}.json"


def largest(score: float, variants: Mapping[str, float]) -> NoiseFloor:
    """The floor of a score, from the scores of all variants."""
    differences = {name: abs(value - score) for name, value in variants.items()}
    is_known = all(map(math.isfinite, differences.values()))
    floor = max(differences.values(), default=math.nan) if is_known else math.nan
    return NoiseFloor(floor=floor, score=score, variants=differences)


def write_noise_floor(path: Path, floors: Floors) -> None:
    """Write a model's noise floor, with its checksum."""
    found: dict[str, dict[str, object]] = {}
    for (benchmark, metric), floor in floors.items():
        found.setdefault(benchmark, {})[metric] = asdict(floor)
    atomic_write_json(path, found, checksum=True)


def read_noise_floor(runs: Path, model: str, base: Items) -> Floors:
    """Read the noise floor of a model; empty if it was not measured.

    Args:
        runs: Folder of the study's runs.
        model: Name of the model.
        base: θ0's per-item scores, which the floor belongs to.

    Raises:
        UserError: If the file is damaged, or was measured for other scores of θ0.
    """
    path = noise_floor_path(runs, model)
    if not path.is_file():
        return UNMEASURED
    try:
        content = _FILE.validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise damaged(path, ": ".join([*map(str, first["loc"]), first["msg"]])) from None
    floors = {(b, metric): floor for b, of in content.items() for metric, floor in of.items()}
    for key, floor in floors.items():
        own = own_score(base, key)
        if not (math.isclose(floor.score, own) or math.isnan(own)):
            raise UserError(
                f"{path}: {' '.join(key)} of θ0 is {own:.6g} in its evaluation and "
                f"{floor.score:.6g} here: the noise floor belongs to another evaluation; delete "
                "this file and run the same command again"
            )
    return floors


def own_score(base: Items, key: Key) -> float:
    """θ0's score of one (benchmark, metric); NaN if it has none."""
    if key[1] == TOKEN_CHANGE:
        return 0.0
    frame = base.get(key)
    return math.nan if frame is None else ratio_estimate(frame["value"], frame["size"]).value


def floor_of(floors: Floors, key: Key) -> float:
    """Noise floor of a (benchmark, metric), NaN if not measured.

    Scores of the weights as shipped have the floor of those as trained.
    """
    found = floors.get((key[0], _PLAIN.get(key[1], key[1])))
    return math.nan if found is None else found.floor


def known(floor: float) -> float:
    """The floor as a width to add: 0 if it was not measured."""
    return 0.0 if math.isnan(floor) else floor
