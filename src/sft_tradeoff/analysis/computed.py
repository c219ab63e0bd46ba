"""What the runs of a study were computed with: commits, versions of packages, hardware."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sft_tradeoff.analysis.run_records import Record


def computed_with(records: Iterable[Record]) -> dict[str, Any]:
    """Commits, versions and hardware that runs were trained and evaluated with, each once."""
    found = list(records)
    origins, machines = [r.origin for r in found], [r.machine for r in found]
    packages: list[dict[str, str]] = [machine.get("packages", {}) for machine in machines]
    return {
        "git_commit": _distinct(origins, "git_commit"),
        "git_dirty": any(origin.get("git_dirty") for origin in origins),
        "python": _distinct(machines, "python"),
        "packages": {n: _distinct(packages, n) for n in sorted(set().union(*packages))},
        "hardware": _distinct(machines, "hardware"),
    }


def _distinct(records: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    return sorted({str(record[key]) for record in records if record.get(key) is not None})
