"""Studies with known scores: every difference between two settings is what the test writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sft_tradeoff.analysis.claims.base import Finding, Part
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.claims.spec import Claim
from sft_tradeoff.analysis.claims.study import judge_claims
from sft_tradeoff.analysis.claims.verdict import Judged
from sft_tradeoff.analysis.run_records import Items, Key
from tests.unit.analysis.evaluations import hash_of

SMALL, LARGE = 1e-5, 1e-4
N, N_CODE = 400, 40  # test items, and documents
META = {"base_model_sha256": hash_of("θ0"), "data_sha256": hash_of("training")}
COLUMNS = ["run", "model", "domain", "method", "label", "learning_rate", "seed"]


@dataclass(frozen=True)
class Run:
    """One setting: accuracy, change of code length, NLL, and NLL as shipped or on other domains.

    Args:
        accuracy: Share of right answers.
        code: Change of bits per byte against θ0.
        nll: Nats per token; θ0 has 2.
        extra: Further scores, by benchmark and metric: mean value per item.
        seeds: What seeds add to accuracy, change and NLL.
    """

    accuracy: float = 0.5
    code: float = 0.0
    nll: float = 1.0
    extra: Mapping[Key, float] = field(default_factory=dict)
    seeds: Sequence[float] = (-0.0025, 0.0, 0.0025)


BASE = Run(accuracy=0.1, nll=2.0, seeds=(0.0,))
Arms = Mapping[str, Mapping[float, Run]]


def frame(value: np.ndarray) -> pd.DataFrame:
    ids = [f"i{i:04}" for i in range(len(value))]
    return pd.DataFrame({"value": value, "size": 1.0, "cluster": ids}, index=ids)


def scores(run: Run, domain: str, shift: float) -> Items:
    """Items of one seed: the easiest ones are right; losses differ by ± 10 % of what changes."""
    rng = np.random.default_rng(0)
    rank = rng.permutation(N) / N
    sign, sign_code = (rng.permutation(np.resize([1.0, -1.0], n)) for n in (N, N_CODE))
    wave = 1 + 0.1 * sign
    found = {
        (domain, "accuracy"): frame((rank < run.accuracy + shift - 1e-9).astype(float)),
        (domain, "nll"): frame((run.nll - shift) * wave),
        ("news", "bits_per_byte"): frame(1 + (run.code + shift / 5) * (1 + 0.1 * sign_code)),
    }
    return found | {key: frame((mean - shift) * wave) for key, mean in run.extra.items()}


def study(
    arms: Arms,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    base: Run = BASE,
    domain: str = "d",
    model: str = "m",
    n_labels: int = 0,
    variant: str = "cot",
) -> Results:
    """One model and domain: ``label`` or ``label:method`` -> learning rate -> run."""
    rows: list[tuple[Any, ...]] = [(f"{model}.base", model, None, "base", "base", None, None)]
    items = {f"{model}.base": scores(base, domain, 0.0)}
    configs = {}
    for name, rates in arms.items():
        label, _, method = name.partition(":")
        for rate, run in rates.items():
            for seed, shift in enumerate(run.seeds):
                key = f"{model}.{domain}.{label}.{rate:g}.{seed}"
                rows.append((key, model, domain, method or label, label, rate, seed))
                items[key] = scores(run, domain, shift)
                configs[key] = {
                    "method": {"options": (options or {}).get(label, {})},
                    "domain": {"name": "own", "variant": variant, "n_labels": n_labels},
                }
    return Results(pd.DataFrame(rows, columns=COLUMNS), items, configs)


def joined(*parts: Results) -> Results:
    """Studies of several models or domains as one; θ0 of a model is scored on all its domains."""
    items: dict[str, Items] = {}
    for part in parts:
        for run, found in part.items.items():
            items[run] = items.get(run, {}) | found
    runs = pd.concat([part.runs for part in parts]).drop_duplicates("run")
    configs = {run: config for part in parts for run, config in part.configs.items()}
    return Results(runs, items, configs)


def written(results: Results, folder: Path) -> Results:
    """The same study in files."""
    for run, found in results.items.items():
        (folder / run).mkdir(parents=True)
        parts = [
            scores.reset_index(names="item").assign(benchmark=key[0], metric=key[1])
            for key, scores in found.items()
        ]
        pd.concat(parts).to_parquet(folder / run / "items.parquet")
        tests = {key[0]: hash_of(key[0]) for key in found}
        record = {"meta_info": {"test_sha256": tests} | META}
        (folder / run / "eval.json").write_text(json.dumps(record))
        if run in results.configs:
            train = {"run_info": {"config": results.configs[run]}, "meta_info": META}
            (folder / run / "train.json").write_text(json.dumps(train))
    return Results(results.runs, results.items, results.configs, folder)


def claim(quantity: str, margin: float = 0.03, **other: Any) -> Claim:
    content = {"id": "X1", "statement": "s", "source": "s", "needs": "n", "level": 0.05}
    return Claim(**(content | {"quantity": quantity, "margin": margin} | other))


def rows_of(results: Results, quantity: str, margin: float = 0.03, **options: Any) -> list[Judged]:
    """Judged rows of one claim."""
    (found,) = judge_claims([claim(quantity, margin, options=options)], results)
    return list(found.rows)


def verdicts(results: Results, quantity: str, margin: float = 0.03, **options: Any) -> list[str]:
    return [str(row.verdict) for row in rows_of(results, quantity, margin, **options)]


def part_of(row: Judged | Finding, index: int = 0) -> Part:
    return (row.finding if isinstance(row, Judged) else row).parts[index]


def value_of(row: Judged, index: int = 0) -> float:
    return part_of(row, index).effect.interval.value
