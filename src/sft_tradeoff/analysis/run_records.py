"""What a run leaves in its folder: ``train.json``, ``eval.json`` and ``items.parquet``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import pyarrow as pa
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import damaged, read_json, verify_checksum

if TYPE_CHECKING:
    import pandas as pd

ITEM_COLUMNS = ["item", "metric", "value", "size"]
Key = tuple[str, str]  # (benchmark, metric)
Items = dict[Key, "pd.DataFrame"]  # per key: value, size and cluster, indexed by item


# --- what records look like: only what is read, as older versions wrote less ----------------------


def _finite(value: float) -> float:
    if math.isinf(value) or value < 0:
        raise ValueError("it must be finite and at least 0")
    return value


NonNegative = Annotated[float, Field(strict=True), AfterValidator(_finite)]  # NaN: not measured
_Ratio = Annotated[float, BeforeValidator(lambda x: math.nan if x is None else x)]  # to 0: null
_Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=True)


class Domain(_Part):
    """Settings of a domain."""

    label: str
    metric: str | None = None
    tolerance: NonNegative | None = None


class _Evaluation(_Part):
    cross_domain: bool = False


class _Config(_Part):
    domains: list[Domain] = []
    evaluation: _Evaluation = _Evaluation()
    merge_of: str | None = None


class _RunInfo(_Part):
    config: _Config = _Config()
    git_commit: str | None = None
    git_dirty: bool | None = None


class _Rounding(_Part):
    norm_ratio: _Ratio = math.nan
    projection: _Ratio = math.nan
    changed_share: _Ratio = math.nan
    evaluated_projection: _Ratio = math.nan


class Epoch(_Part):
    """The weights at the end of an epoch, scored on the validation examples."""

    epoch: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    step: Annotated[int, Field(ge=1)]
    domain_score: float
    domain_nll: float
    n_items: _Count
    selected: bool


class _TrainInfo(_Part):
    tokens_per_s: NonNegative = math.nan
    time_s: NonNegative = math.nan
    peak_memory_bytes: NonNegative = math.nan
    n_examples: _Count = 0
    n_truncated: _Count = 0
    adapted_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    rounding: _Rounding = _Rounding()
    epochs: list[Epoch] = []

    @model_validator(mode="after")
    def _of_the_examples(self) -> Self:
        if self.n_truncated > self.n_examples:
            raise ValueError("n_truncated is more than n_examples")
        return self


class _Task(_Part):
    n_items: _Count


class _EvalInfo(_Part):
    n_truncated: dict[str, _Count] = {}
    tasks: dict[str, _Task] = {}
    weights: str = "as trained"
    dtype: str = "bfloat16"

    @model_validator(mode="after")
    def _of_the_items(self) -> Self:
        for domain, n in self.n_truncated.items():
            if n > getattr(self.tasks.get(f"domain_{domain}"), "n_items", 0):
                raise ValueError(f"n_truncated of {domain!r} is more than its n_items")
        return self


class _MetaInfo(_Part):
    python: str | None = None
    hardware: str | None = None
    packages: dict[str, str] = {}
    test_sha256: dict[str, str] = {}


class Content(_Part):
    """What ``train.json`` and ``eval.json`` hold."""

    run_info: _RunInfo = _RunInfo()
    meta_info: _MetaInfo = _MetaInfo()
    train_info: _TrainInfo = _TrainInfo()
    eval_info: _EvalInfo = _EvalInfo()


class Rounding(NamedTuple):
    """What rounding the weights to bfloat16 does to the update θ − θ0.

    Args:
        norm_ratio: Norm of the rounded update, in units of the norm of the true one.
        projection: Projection of the rounded update on the true one, in the same units: 1 if
            nothing is lost, 0 if everything is.
        changed_share: Share of the weights that differ from θ0's after rounding.
        evaluated_projection: As ``projection``, of the weights that evaluation computes with.
    """

    norm_ratio: float = math.nan
    projection: float = math.nan
    changed_share: float = math.nan
    evaluated_projection: float = math.nan


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """The JSON record that training or evaluation writes when it ends.

    Args:
        path: The file.
        raw: What it holds.
        content: The part of it that is read, checked.
    """

    path: Path
    raw: Mapping[str, Any]
    content: Content

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record that exists.

        Raises:
            DamagedFileError: If the file was changed, or is not such a record.
        """
        raw = read_json(path)
        try:
            return cls(path, raw, Content.model_validate(raw))
        except ValidationError as error:
            first = error.errors()[0]
            raise damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    @classmethod
    def find(cls, path: Path) -> Self | None:
        """Read a record; None if there is none, because the stage has not run or did not end."""
        return cls.read(path) if path.is_file() else None

    @property
    def origin(self) -> Mapping[str, Any]:
        """Git commit and settings that the stage ran with."""
        origin: Mapping[str, Any] = self.raw.get("run_info", {})
        return origin

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings alone, as JSON."""
        config: Mapping[str, Any] = self.origin.get("config", {})
        return config

    @property
    def machine(self) -> Mapping[str, Any]:
        """Versions of Python and packages, hardware."""
        machine: Mapping[str, Any] = self.raw.get("meta_info", {})
        return machine


class TrainingRecord(Record):
    """``train.json``."""

    @property
    def tokens_per_s(self) -> float:
        """Training speed; NaN if not recorded, e.g. for an average of weights."""
        return self.content.train_info.tokens_per_s

    @property
    def time_s(self) -> float:
        """Duration in seconds; NaN if not recorded."""
        return self.content.train_info.time_s

    @property
    def peak_memory_bytes(self) -> float:
        """Peak memory of the process; NaN if not recorded."""
        return self.content.train_info.peak_memory_bytes

    @property
    def n_examples(self) -> int:
        """Training examples; 0 if not recorded."""
        return self.content.train_info.n_examples

    @property
    def n_truncated(self) -> int:
        """Examples whose response was truncated."""
        return self.content.train_info.n_truncated

    @property
    def adapted_share(self) -> float:
        """Share of the weights in layers that the method changes; 1 if not recorded."""
        return self.content.train_info.adapted_share

    @property
    def rounding(self) -> Rounding:
        """What rounding to bfloat16 does to the update; NaN if not recorded."""
        return Rounding(**self.content.train_info.rounding.model_dump())

    @property
    def epochs(self) -> list[Epoch]:
        """Scores of every epoch; empty for a run that keeps its last weights."""
        return self.content.train_info.epochs

    @property
    def merge_of(self) -> str | None:
        """The run whose weights were averaged with θ0's; None for a training run."""
        return self.content.run_info.config.merge_of


class EvaluationRecord(Record):
    """``eval.json``."""

    @property
    def test_sha256(self) -> Mapping[str, str]:
        """Benchmark or domain -> checksum of the file that its items come from."""
        return self.content.meta_info.test_sha256

    @property
    def domains(self) -> list[Domain]:
        """Settings of the domains it was evaluated on."""
        return self.content.run_info.config.domains

    @property
    def cross_domain(self) -> bool:
        """Whether every run of the study was evaluated on every domain."""
        return self.content.run_info.config.evaluation.cross_domain

    @property
    def n_truncated(self) -> Mapping[str, int]:
        """Domain -> number of test responses that were truncated."""
        return self.content.eval_info.n_truncated

    def n_items(self, domain: str) -> int:
        """Test items of a domain."""
        return self.content.eval_info.tasks[f"domain_{domain}"].n_items


@dataclass(frozen=True)
class Evaluation:
    """Scores of one run, item by item.

    Args:
        record: Its ``eval.json``.
        items: Per (benchmark, metric): value, size and cluster of each item.
    """

    record: EvaluationRecord
    items: Items


def training_record(folder: Path) -> TrainingRecord | None:
    """Read ``train.json`` in a run's folder; None if there is none, as for θ0."""
    return TrainingRecord.find(folder / "train.json")


def evaluation_record(folder: Path) -> EvaluationRecord | None:
    """Read ``eval.json`` in a run's folder; None if the run is not evaluated."""
    return EvaluationRecord.find(folder / "eval.json")


def read_evaluation(folder: Path) -> Evaluation | None:
    """Read what an evaluation wrote; None if the run is not evaluated.

    Raises:
        UserError: If a file is damaged, an item appears twice, or the record does not say which
            items were scored.
    """
    record, path = evaluation_record(folder), folder / "items.parquet"
    if record is None or not path.is_file():
        return None
    items = read_items(path)
    for benchmark, _ in items:
        if benchmark not in record.test_sha256:
            raise UserError(
                f"{record.path}: meta_info.test_sha256 lacks {benchmark!r}, so it is unknown which "
                "items were scored; delete this file and run the same command again"
            )
    return Evaluation(record, items)


def read_items(path: Path) -> Items:
    """Read per-item scores, by (benchmark, metric); infinite ones become NaN.

    Raises:
        UserError: As :func:`read_item_table`.
    """
    groups = read_item_table(path, "benchmark").groupby(["benchmark", "metric"])
    return {
        (str(benchmark), str(metric)): group.set_index("item")[["value", "size", "cluster"]]
        for (benchmark, metric), group in groups
    }


def read_item_table(path: Path, scored: str) -> pd.DataFrame:
    """Read a Parquet file of per-item scores; infinite ones become NaN.

    Args:
        path: The file.
        scored: The column that says what was scored: benchmark or epoch.

    Returns:
        That column, item, metric, value, size and cluster.

    Raises:
        UserError: If the file is damaged, or an item appears twice.
    """
    import pandas as pd

    columns = [scored, *ITEM_COLUMNS]
    verify_checksum(path)
    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowException, ValueError, OSError) as error:
        if getattr(error, "errno", None) is not None:  # not the file's fault
            raise
        raise damaged(path, error) from None
    if lacking := [name for name in columns if name not in frame]:
        raise UserError(
            f"{path}: no column {', '.join(lacking)}; delete it and run the same command again"
        )
    try:
        frame = frame.astype({"value": "float64", "size": "float64"})
    except (TypeError, ValueError) as error:
        raise damaged(path, error) from None
    if "cluster" not in frame:  # an older record: every item counts as independent
        frame["cluster"] = frame["item"]
    _check_items(path, frame, scored)
    return frame.replace([math.inf, -math.inf], math.nan)[[*columns, "cluster"]]


def _check_items(path: Path, frame: pd.DataFrame, scored: str) -> None:
    key = [scored, "item", "metric"]
    text = {scored: "str"} if scored == "epoch" else {}
    names, size = frame.astype(text)[[*key, "cluster"]], frame["size"]
    if frame.empty or not names.map(lambda name: isinstance(name, str)).all(axis=None):
        raise damaged(path, "it has no items" if frame.empty else "an item has no name")
    if not size.between(0, math.inf, inclusive="left").all():
        raise damaged(path, "the size of an item is not a number")
    twice = names[names[key].duplicated()]
    if len(twice):
        what, item, metric = twice.iloc[0][key]
        raise UserError(
            f"{path}: {what}, {metric}: item {item!r} appears twice; give the benchmark's "
            "items unique ids and evaluate this run again"
        )
