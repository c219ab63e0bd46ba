"""Studies made by hand for the recommendation: their tables, per-item scores and records."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from sft_tradeoff.analysis.comparison import DEFAULT_SMALLEST_GAIN
from sft_tradeoff.analysis.evidence import Cost, Measured, Setting
from sft_tradeoff.analysis.recommendation import MethodResult, Section, recommend
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.analysis.tables import OVER_SEEDS_COLUMNS

NAN = math.nan
CODE = "general_bits_per_byte_difference"
SUITE = {
    ("m", "bits_per_byte"): {"code_length_news": 20, "code_length_code": 20},
    ("m", "accuracy"): {"piqa": 5000, "boolq": 5000},
}
CODE_ONLY = {"bits_per_byte": 0.01}
GAIN = DEFAULT_SMALLEST_GAIN
N = 100  # test items; accuracies below are numbers of correct answers


@functools.cache
def scores(right: int, nll: float) -> Items:
    """Items of a domain: the first ``right`` are correct; losses (and differences) vary by 10 %."""
    ids = [str(i) for i in range(N)]
    accuracy = {"value": [float(i < right) for i in range(N)], "size": [1.0] * N}
    losses = {"value": [nll * (1 + 0.1 * (-1) ** i) for i in range(N)], "size": [1.0] * N}
    return {
        ("d", "accuracy"): pd.DataFrame(accuracy, index=ids),
        ("d", "nll"): pd.DataFrame(losses, index=ids),
    }


class Run:
    """One run: code length change ± half the width of its interval, correct answers, NLL."""

    def __init__(
        self, code: float, half: float, right: int = 50, nll: float = 1.0, **other: Any
    ) -> None:
        self.code, self.half, self.right, self.nll, self.other = code, half, right, nll, other

    def row(self, method: str, label: str, rate: float) -> dict[str, Any]:
        names = {"model": "m", "domain": "d", "method": method, "label": label, "reason": ""}
        numbers = {
            "learning_rate": rate,
            "n_seeds": 1,
            CODE: self.code,
            f"{CODE}_low": self.code - self.half,
            f"{CODE}_high": self.code + self.half,
            "domain_score": self.right / N,
            "domain_nll": self.nll,
        }
        return dict.fromkeys(OVER_SEEDS_COLUMNS, 0.0) | names | numbers | self.other


BASE = Run(0.0, 0.0, right=10, nll=3.0)


def study(runs: dict[str, dict[float, Run]]) -> tuple[pd.DataFrame, Measured]:
    """Table and items of a study: label -> learning rate -> run, after θ0."""
    rows = [BASE.row("base", "base", NAN)]
    items: dict[Setting, list[Items]] = {("m", "d", "base", None): [scores(BASE.right, BASE.nll)]}
    costs = {}
    for label, of_label in runs.items():
        for rate, run in of_label.items():
            rows.append(run.row(label.split("-")[0], label, rate))
            items["m", "d", label, rate] = [scores(run.right, run.nll)]
            costs["m", "d", label, rate] = Cost(60.0, 2e9)
    return pd.DataFrame(rows, columns=OVER_SEEDS_COLUMNS), Measured(items, SUITE, costs)


def section_of(
    runs: dict[str, dict[float, Run]],
    tolerance: dict[str, float] = CODE_ONLY,
    smallest: dict[str, float] = GAIN,
) -> Section:
    (section,) = recommend(*study(runs), tolerance, smallest).sections
    return section


def method_of(section: Section, label: str) -> MethodResult:
    return next(method for method in section.methods if method.label == label)


SFT = {
    1e-5: Run(0.000, 0.002, right=30, nll=2.0),
    1e-4: Run(0.005, 0.002, right=60, nll=1.0),
    1e-3: Run(0.500, 0.020, right=90, nll=0.5),
}
IN, OUT, LESS = Run(0.0, 0.001), Run(0.5, 0.001), Run(0.0, 0.001, right=30)
LOST = {
    "general_score_difference": -0.2,
    "general_score_difference_low": -0.25,
    "general_score_difference_high": -0.15,
}
rates = st.sampled_from([1e-6, 1e-5, 1e-4, 1e-3])
some_runs = st.builds(
    Run,
    code=st.floats(-0.1, 0.5),
    half=st.floats(1e-3, 0.1),
    right=st.sampled_from([5, 10, 12, 50, 90]),
    nll=st.sampled_from([0.5, 1.0, 3.0, 4.0]),
)
studies = st.dictionaries(
    st.sampled_from(["sft", "talr", "dft"]),
    st.dictionaries(rates, some_runs, min_size=1),
    min_size=1,
)
allowed = st.floats(0, 0.5)
RUNS = [
    ("m.base", "m", None, "base", "base", None, None),
    ("m.d.sft", "m", "d", "sft", "sft", 1e-4, 0),
    ("m.d.wise", "m", "d", "wise_ft", "wise", 1e-4, 0),
]
RUN_COLUMNS = ["run", "model", "domain", "method", "label", "learning_rate", "seed"]


def write_runs(folder: Path) -> Path:
    """Write evaluations and costs of θ0, one trained run and its average with θ0."""
    suite = {("piqa", "acc_norm"): 3, ("piqa", "acc"): 3, ("code", "bits_per_byte"): 2}
    for run, *_ in RUNS:
        rows = [
            (benchmark, str(i), metric, 1.0, 1.0)
            for (benchmark, metric), n in (suite | {("d", "accuracy"): 4, ("d", "nll"): 4}).items()
            for i in range(n)
        ]
        (folder / run).mkdir(parents=True)
        frame = pd.DataFrame(rows, columns=["benchmark", "item", "metric", "value", "size"])
        frame.to_parquet(folder / run / "items.parquet")
        hashes = {b: hashlib.sha256(b.encode()).hexdigest() for b in ("piqa", "code", "d")}
        (folder / run / "eval.json").write_text(json.dumps({"meta_info": {"test_sha256": hashes}}))
    for run, time_s, peak, source in (("m.d.sft", 100.0, 5, None), ("m.d.wise", 2.0, 3, "m.d.sft")):
        report = {
            "train_info": {"time_s": time_s, "peak_memory_bytes": peak},
            "run_info": {"config": {"merge_of": source}},
        }
        (folder / run / "train.json").write_text(json.dumps(report))
    return folder


def write_domain(path: Path, **settings: Any) -> None:
    """Add the settings of a domain to an evaluation's record."""
    record = json.loads(path.read_text())
    record["run_info"] = {"config": {"domains": [{"label": "d", **settings}]}}
    path.write_text(json.dumps(record))
