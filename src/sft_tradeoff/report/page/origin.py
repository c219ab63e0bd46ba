"""Where the numbers come from: methods with formula and source, commits, versions, hashes, time."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.analysis.computed import computed_with
from sft_tradeoff.analysis.run_records import (
    EvaluationRecord,
    TrainingRecord,
    evaluation_record,
    training_record,
)
from sft_tradeoff.analysis.tables import BASE, Row, rows_of
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.report.published import MANIFEST
from sft_tradeoff.report.recommendation_numbers import duration
from sft_tradeoff.system.files import read_json
from sft_tradeoff.system.text import listing

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("loss = ", "minimize ", "maximize ", "W = ", "θ = ")
Facts = list[tuple[str, list[str]]]  # heading -> lines


def methods(runs: pd.DataFrame, folder: Path) -> list[dict[str, Any]]:
    """The methods of a study: name, source, formula, explanation, and variants with their options.

    The text is the docstring of the method's module, of which one paragraph begins with the
    formula.

    Args:
        runs: The run table.
        folder: Holds ``<run>/train.json``.
    """
    trained = runs[runs["method"] != BASE].drop_duplicates("label")
    return [
        method_text(str(name)) | {"variants": [_variant(row, folder) for row in rows_of(variants)]}
        for name, variants in trained.groupby("method", sort=False)
    ]


def method_text(name: str) -> dict[str, Any]:
    """What is known about a method; a name of another version is all that there is."""
    if (method := METHODS.get(name)) is None:
        return {"name": name, "source": "", "formula": "", "text": []}
    module = sys.modules[method.options.__module__]
    paragraphs = [" ".join(p.split()) for p in str(module.__doc__).split("\n\n")]
    formula = next((p for p in paragraphs if p.startswith(FORMULA)), "")
    text = [paragraph.replace("``", "`") for paragraph in paragraphs if paragraph != formula]
    found = {"name": name, "source": method.source, "formula": formula.replace("``", "`")}
    return found | {"text": text}


def _variant(row: Row, folder: Path) -> dict[str, str]:
    record = training_record(folder / row["run"])
    options = record.config.get("method", {}).get("options", {}) if record else {}
    return {"label": row["label"], "options": _options(options)}


def _options(options: Mapping[str, Any]) -> str:
    given = {key: value for key, value in options.items() if value is not None}
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in given.items())


def provenance(runs: pd.DataFrame, folder: Path, tables: Path) -> Facts:
    """Facts about how the study was computed; empty ones are left out.

    Args:
        runs: The run table.
        folder: Holds ``<run>/train.json`` and ``eval.json``.
        tables: Folder of the study, with the manifest if it is published.
    """
    names = [str(name) for name in runs["run"]]
    trained = [r for name in names if (r := training_record(folder / name))]
    evaluated = [e for name in names if (e := evaluation_record(folder / name))]
    computed = computed_with([*trained, *evaluated])
    dirty = " (with uncommitted changes)" if computed["git_dirty"] else ""
    facts = [
        ("Published", _published(tables / MANIFEST)),
        ("Computed at commit", [f"{commit}{dirty}" for commit in computed["git_commit"]]),
        ("Hardware", computed["hardware"]),
        ("Python", computed["python"]),
        ("Packages", [_packages(computed["packages"])]),
        ("Training", _training(trained)),
        ("SHA-256 of θ₀", _hashes(trained, "base_model_sha256")),
        ("SHA-256 of training data", _hashes(trained, "data_sha256")),
        ("SHA-256 of test items", _tests(evaluated)),
    ]
    return [(heading, lines) for heading, lines in facts if any(lines)]


def _published(manifest: Path) -> list[str]:
    if not manifest.is_file():
        return []
    found = read_json(manifest)
    made, n = found["published"], len(found["files"])
    return [
        f"{made['date']}, at commit {made['git_commit']}",
        f"settings SHA-256 {found['settings_sha256']}; {n} files, each with its SHA-256 in "
        f"{MANIFEST}",
    ]


def _packages(versions: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in versions.items())


def _training(records: Sequence[TrainingRecord]) -> list[str]:
    times = [record.time_s for record in records if not math.isnan(record.time_s)]
    peaks = [r.peak_memory_bytes for r in records if not math.isnan(r.peak_memory_bytes)]
    if not times:
        return []
    peak = f", at most {max(peaks) / 1e9:.1f} GB each" if peaks else ""
    total = duration(math.fsum(times))
    return [f"{total} in {len(times)} runs ({duration(math.fsum(times) / len(times))} each){peak}"]


def _hashes(records: Iterable[TrainingRecord], key: str) -> list[str]:
    found = dict.fromkeys(str(r.machine[key]) for r in records if r.machine.get(key))
    return [listing(found, limit=6)] if found else []


def _tests(records: Iterable[EvaluationRecord]) -> list[str]:
    found = {name: digest for record in records for name, digest in record.test_sha256.items()}
    return [f"{name} {digest}" for name, digest in sorted(found.items())]
