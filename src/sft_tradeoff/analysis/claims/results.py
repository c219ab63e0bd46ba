"""The runs of a study as claims see them: settings, their seeds, and scores item by item."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_tradeoff.analysis.claims.base import Place, Untested
from sft_tradeoff.analysis.claims.statistic import Statistic, combined, score
from sft_tradeoff.analysis.noise_floor import known, read_noise_floor
from sft_tradeoff.analysis.run_records import Items, Key, read_evaluation, training_record
from sft_tradeoff.analysis.starts import Starts, starts_of
from sft_tradeoff.analysis.tables import BASE, CODE_LENGTH, domains_of, rows_of
from sft_tradeoff.stats.bootstrap import Clustered
from sft_tradeoff.study.names import format_learning_rate

if TYPE_CHECKING:
    import pandas as pd

Half = int | None  # 0: to choose on, 1: to report on, None: all items
Floors = Mapping[str, Mapping[Key, float]]  # model -> benchmark and metric -> noise floor


@dataclass(frozen=True)
class Arm:
    """A method with its options, on one model and domain.

    Args:
        model: Model.
        domain: Domain.
        label: Method label.
        method: Method.
        options: Options that the runs were trained with; empty if no run is recorded.
        domain_config: Settings of the domain; empty likewise.
        rates: Learning rate -> seed -> run, in increasing order.
    """

    model: str
    domain: str
    label: str
    method: str
    options: Mapping[str, Any]
    domain_config: Mapping[str, Any]
    rates: Mapping[float, Mapping[int, str]]

    @property
    def place(self) -> Place:
        """What findings about it are about."""
        return Place(self.model, self.domain, self.label)


@dataclass(frozen=True)
class Results:
    """What a study measured.

    Args:
        runs: The run table, θ0 included.
        items: Run -> per-item scores; runs that are not evaluated are absent.
        configs: Run -> settings that it was trained with; likewise.
        folder: Holds ``<run>/``; None for scores that are not in files.
        floors: Numerical noise of scores; empty if it was not measured.
        starts: Model -> runs that its θ0 comes from, the first one first.
    """

    runs: pd.DataFrame
    items: Mapping[str, Items]
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folder: Path | None = None
    floors: Floors = field(default_factory=dict)
    starts: Starts = field(default_factory=dict)
    _known: dict[Any, Statistic] = field(default_factory=dict, repr=False)

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """All methods on all models and domains, in the order of the run table."""
        found: dict[tuple[str, str, str, str], dict[float, dict[int, str]]] = {}
        for run in rows_of(self.runs[self.runs["method"] != BASE]):
            key = run["model"], run["domain"], run["label"], run["method"]
            rates = found.setdefault(key, {}).setdefault(float(run["learning_rate"]), {})
            rates[int(run["seed"])] = run["run"]
        return tuple(
            Arm(*key, *self._recorded(rates), rates=dict(sorted(rates.items())))
            for key, rates in found.items()
        )

    def _recorded(
        self, rates: Mapping[float, Mapping[int, str]]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Options and domain of the first recorded run."""
        names = (name for seeds in rates.values() for name in seeds.values())
        config = next((self.configs[name] for name in names if self.configs.get(name)), {})
        return config.get("method", {}).get("options", {}), config.get("domain", {})

    def cells(self) -> list[tuple[str, str, list[Arm]]]:
        """Arms of each model and domain."""
        cells: dict[tuple[str, str], list[Arm]] = {}
        for arm in self.arms:
            cells.setdefault((arm.model, arm.domain), []).append(arm)
        return [(*key, arms) for key, arms in cells.items()]

    def base_run(self, model: str) -> str:
        """Name of θ0's run."""
        if model not in self._base_runs:
            raise Untested(f"{model}: the run table has no θ₀")
        return self._base_runs[model]

    @cached_property
    def _base_runs(self) -> dict[str, str]:
        base = self.runs[self.runs["method"] == BASE]
        return dict(zip(base["model"], base["run"], strict=True))

    def domains(self, model: str) -> list[str]:
        """Domains that a model was trained on."""
        return domains_of(self.runs[self.runs["model"] == model])

    def all_domains(self, model: str) -> list[str]:
        """Domains that a model was trained on, and those that its θ0 was trained on before."""
        before = (start.domain for start in self.starts.get(model, ()))
        return list(dict.fromkeys([*self.domains(model), *before]))

    def warmed_up(self, model: str, domain: str) -> list[str]:
        """Models that start from a run of this model on other examples of a domain."""
        kind = self._kind(model, domain)
        return [
            warm
            for warm, starts in self.starts.items()
            if starts
            and (start := starts[-1]).model == model
            and start.domain != domain
            and self._kind(model, start.domain) == kind is not None
        ]

    def _kind(self, model: str, domain: str) -> tuple[str, str] | None:
        """Name and variant of a domain that a model was trained on; None if not recorded."""
        for arm in self.arms:
            config = arm.domain_config
            if (arm.model, arm.domain) == (model, domain) and "name" in config:
                return config["name"], config.get("variant", "")
        return None

    def score(self, arm: Arm, rate: float, key: Key, half: Half = None) -> Statistic:
        """Score of a method at one rate, on one benchmark and metric.

        Raises:
            Untested: If a seed is not evaluated, lacks the score or has NaN.
        """
        name = f"{arm.label} at {format_learning_rate(rate)}"
        return self._once(
            (arm.place, rate, key, half),
            lambda: score(
                name=name,
                key=key,
                scores=self.clustered(arm, rate, key, half),
                seeds=tuple(arm.rates[rate]),
                floor=self.noise_floor(arm.model, key),
            ),
        )

    def base(self, model: str, key: Key, half: Half = None) -> Statistic:
        """Score of θ0; see :meth:`score`."""
        run = self.base_run(model)
        return self._once(
            (model, key, half),
            lambda: score(
                name="θ₀",
                key=key,
                scores=clustered([self._read(run, model, key)], half),
                seeds=None,
                floor=self.noise_floor(model, key),
            ),
        )

    def _once(self, key: Any, compute: Callable[[], Statistic]) -> Statistic:
        """Resampling takes a while, and every claim asks for the same scores."""
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]

    def _read(self, run: str, model: str, key: Key) -> pd.DataFrame:
        """Items of one run, sorted by name: the same order for all runs and models."""
        base = self.items.get(self.base_run(model), {})
        if run not in self.items:
            raise Untested(f"run {run} is not evaluated")
        if key not in self.items[run] or key not in base:
            raise Untested(f"run {run if key in base else 'of θ₀'} has no {key[1]} of {key[0]}")
        frame, reference = self.items[run][key], base[key]
        if set(frame.index) != set(reference.index):
            raise Untested(f"run {run} and θ₀ were scored on different items of {key[0]}")
        frame = frame.sort_index()
        if n_broken := int(frame["value"].isna().sum()):
            raise Untested(
                f"run {run}: {key[1]} of {key[0]} is NaN for {n_broken} of {len(frame)} items"
            )
        return frame

    def domain_score(self, arm: Arm, rate: float, half: Half = None) -> Statistic:
        """Accuracy on the method's own domain."""
        return self.score(arm, rate, (arm.domain, "accuracy"), half)

    def general_loss(self, arm: Arm, rate: float, half: Half = None) -> Statistic:
        """Change of general code length against θ0, in bits per byte; mean over the tasks.

        Raises:
            Untested: If the general suite measures no code length.
        """
        keys = self.code_length_keys(arm.model)
        pairs = [
            stat
            for key in keys
            for stat in (self.score(arm, rate, key, half), self.base(arm.model, key, half))
        ]
        return combined(
            lambda *values: sum(values[::2]) / len(keys) - sum(values[1::2]) / len(keys),
            *pairs,
            name=pairs[0].name,
            floor=self.general_floor(arm.model),
        )

    def general_floor(self, model: str) -> float:
        """Numerical noise of the mean general code length, in bits per byte."""
        keys = self.code_length_keys(model)
        return math.fsum(self.noise_floor(model, key) for key in keys) / len(keys)

    def noise_floor(self, model: str, key: Key) -> float:
        """Noise of one score; 0 if it was not measured."""
        benchmark, metric = key
        plain = benchmark, metric.removesuffix("_shipped")  # the same computation
        return self.floors.get(model, {}).get(plain, 0.0)

    def code_length_keys(self, model: str) -> list[Key]:
        """The code-length tasks of the general suite.

        Raises:
            Untested: If there are none.
        """
        base, domains = self.items.get(self.base_run(model), {}), self.domains(model)
        keys = [key for key in base if key[1] == CODE_LENGTH and key[0] not in domains]
        if not keys:
            raise Untested("the general suite measures no code length; add such a task")
        return keys

    def clustered(self, arm: Arm, rate: float, key: Key, half: Half = None) -> Clustered:
        """Scores [S, n] of all seeds, item by item; see :meth:`score`."""
        frames = [self._read(run, arm.model, key) for run in arm.rates[rate].values()]
        return clustered(frames, half)

    def chance(self, arm: Arm) -> float:
        """Accuracy on a domain without reading the question; 0 if answers are not labels.

        The larger of one over the number of labels, and the share of the commonest label. Both
        follow from the balanced accuracy, in which a right answer counts n / (labels · items of its
        label): known for every label that any run gets right.
        """
        key, n_labels = (arm.domain, "balanced_accuracy"), arm.domain_config.get("n_labels", 0)
        if not n_labels:
            return 0.0
        right = [
            items[key]["value"][items[key]["value"] > 0].min()
            for items in self.items.values()
            if key in items and (items[key]["value"] > 0).any()
        ]
        return max(1 / n_labels, max((1 / (n_labels * float(v)) for v in right), default=0.0))


def clustered(frames: Sequence[pd.DataFrame], half: Half) -> Clustered:
    """Scores of several seeds on the same items, or on one half of their clusters.

    The clusters are sorted by the hash of their name and dealt out in turn, so the halves depend on
    nothing but the names, and are of equal size.

    Args:
        frames: Value, size and cluster of the same items in the same order, one frame per seed.
        half: Which half; None: all items.

    Raises:
        Untested: If there are too few clusters for halves.
    """
    first = frames[0]
    names, codes = np.unique(first["cluster"].to_numpy(str), return_inverse=True)
    kept = np.ones(len(codes), bool)
    if half is not None:
        if len(names) < 4:
            raise Untested(
                f"{len(names)} independent units of items are too few to choose on one half and "
                "report on the other"
            )
        order = np.argsort([hashlib.sha256(name.encode()).hexdigest() for name in names])
        side = np.empty(len(names), int)
        side[order] = np.arange(len(names)) % 2
        kept = side[codes] == half
        codes = np.unique(codes[kept], return_inverse=True)[1]
    value = np.stack([frame["value"].to_numpy(float)[kept] for frame in frames])
    return Clustered(value, first["size"].to_numpy(float)[kept], codes)


def read_results(runs: pd.DataFrame, folder: Path) -> Results:
    """Read what claims need from the files of a study.

    Args:
        runs: The run table, θ0 included.
        folder: Holds ``<run>/eval.json``, ``items.parquet`` and ``train.json``.
    """
    names = list(runs["run"])
    read = {name: found for name in names if (found := read_evaluation(folder / name))}
    items = {name: found.items for name, found in read.items()}
    base = {row["model"]: row["run"] for row in rows_of(runs[runs["method"] == BASE])}
    floors = {model: _floors(folder, model, items.get(run, {})) for model, run in base.items()}
    starts = {model: starts_of(read[run].record) for model, run in base.items() if run in read}
    return Results(runs, items, _configs(names, folder), folder, floors, starts)


def _floors(folder: Path, model: str, base: Items) -> dict[Key, float]:
    """Numerical noise of a model's scores; empty if it was not measured."""
    found = read_noise_floor(folder, model, base)
    return {key: known(floor.floor) for key, floor in found.items()}


def _configs(names: Iterable[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Settings of the trained runs; a domain with a closed set of labels has their number."""
    from sft_tradeoff.domains.registry import SPECS, get_domain

    configs = {}
    for name in names:
        record = training_record(folder / name)
        config = dict(record.config) if record else {}
        domain = config.get("domain", {})
        if domain.get("name") in SPECS:
            labels = get_domain(domain["name"]).labels
            config["domain"] = domain | {"n_labels": len(labels)}
        configs[name] = config
    return configs
