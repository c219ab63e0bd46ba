"""What a run leaves in its folder: ``train.json``, ``eval.json`` and ``items.parquet``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import read_json, verify_checksum

ITEM_COLUMNS = ["benchmark", "item", "metric", "value", "size"]
Key = tuple[str, str]  # (benchmark, metric)
Items = dict[Key, pd.DataFrame]  # per key: value and size, indexed by item


@dataclass(frozen=True)
class Record:
    """The JSON record that training or evaluation writes when it ends.

    Args:
        path: The file.
        content: What it holds.
    """

    path: Path
    content: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record that exists.

        Raises:
            UserError: If the file was changed.
        """
        return cls(path, read_json(path))

    @classmethod
    def find(cls, path: Path) -> Self | None:
        """Read a record; None if there is none, because the stage has not run or did not end."""
        return cls.read(path) if path.is_file() else None

    @property
    def origin(self) -> Mapping[str, Any]:
        """Git commit and settings that the stage ran with."""
        return self._part("run_info")

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings alone, as JSON."""
        config: Mapping[str, Any] = self.origin.get("config", {})
        return config

    @property
    def machine(self) -> Mapping[str, Any]:
        """Versions of Python and packages, hardware."""
        return self._part("meta_info")

    def _part(self, name: str) -> Mapping[str, Any]:
        part: Mapping[str, Any] = self.content.get(name, {})
        return part


class TrainingRecord(Record):
    """``train.json``."""

    @property
    def tokens_per_s(self) -> float:
        """Training speed; NaN if not recorded, e.g. for an average of weights."""
        return self._number("tokens_per_s")

    @property
    def time_s(self) -> float:
        """Duration in seconds; NaN if not recorded."""
        return self._number("time_s")

    @property
    def peak_memory_bytes(self) -> float:
        """Peak memory of the process; NaN if not recorded."""
        return self._number("peak_memory_bytes")

    @property
    def n_examples(self) -> int:
        """Training examples."""
        n: int = self._part("train_info")["n_examples"]
        return n

    @property
    def n_truncated(self) -> int:
        """Examples whose response was truncated."""
        n: int = self._part("train_info").get("n_truncated", 0)
        return n

    @property
    def adapted_share(self) -> float:
        """Share of the weights in layers that the method changes; 1 if not recorded."""
        share: float = self._part("train_info").get("adapted_share", 1.0)
        return share

    @property
    def merge_of(self) -> str | None:
        """The run whose weights were averaged with θ0's; None for a training run."""
        name: str | None = self.config.get("merge_of")
        return name

    def _number(self, name: str) -> float:
        number: float = self._part("train_info").get(name, math.nan)
        return number


class EvaluationRecord(Record):
    """``eval.json``."""

    @property
    def test_sha256(self) -> Mapping[str, str]:
        """Benchmark or domain -> checksum of the file that its items come from."""
        checksums: Mapping[str, str] = self.machine.get("test_sha256", {})
        return checksums

    @property
    def domains(self) -> list[Mapping[str, Any]]:
        """Settings of the domains it was evaluated on."""
        domains: list[Mapping[str, Any]] = self.config.get("domains", [])
        return domains

    @property
    def n_truncated(self) -> Mapping[str, int]:
        """Domain -> number of test responses that were truncated."""
        n: Mapping[str, int] = self._part("eval_info").get("n_truncated", {})
        return n

    def n_items(self, domain: str) -> int:
        """Test items of a domain."""
        n: int = self._part("eval_info")["tasks"][f"domain_{domain}"]["n_items"]
        return n


@dataclass(frozen=True)
class Evaluation:
    """Scores of one run, item by item.

    Args:
        record: Its ``eval.json``.
        items: Per (benchmark, metric): value and size of each item.
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
    items = _read_items(path)
    for benchmark, _ in items:
        if benchmark not in record.test_sha256:
            raise UserError(
                f"{record.path}: meta_info.test_sha256 lacks {benchmark!r}, so it is unknown which "
                "items were scored; delete this file and run the same command again"
            )
    return Evaluation(record, items)


def _read_items(path: Path) -> Items:
    """Per-item scores by (benchmark, metric); infinite ones become NaN."""
    verify_checksum(path)
    frame = pd.read_parquet(path).replace([math.inf, -math.inf], math.nan)
    if lacking := [name for name in ITEM_COLUMNS if name not in frame]:
        raise UserError(f"{path}: no column {', '.join(lacking)}; evaluate this run again")
    twice = frame[frame.duplicated(["benchmark", "metric", "item"])]
    if len(twice):
        benchmark, item, metric = twice.iloc[0][ITEM_COLUMNS[:3]]
        raise UserError(
            f"{path}: {benchmark}, {metric}: item {item!r} appears twice; give the benchmark's "
            "items unique ids and evaluate this run again"
        )
    groups = frame.groupby(["benchmark", "metric"])
    return {
        (str(benchmark), str(metric)): group.set_index("item")[["value", "size"]]
        for (benchmark, metric), group in groups
    }
