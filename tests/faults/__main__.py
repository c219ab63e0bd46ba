"""Provoke every fault many times and report the outcomes: ``make test-faults``."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults import disk, kills, network, not_finite, studies
from tests.faults.laboratory import Laboratory
from tests.faults.outcome import Outcome

Provoke = Callable[[Laboratory, random.Random, int], Iterator[Outcome]]


class Fault(NamedTuple):
    """A fault, and how often it is provoked at the two scales.

    Args:
        provoke: Yields one outcome per fault.
        n_small: With the other tests.
        n_large: By ``make test-faults``.
    """

    provoke: Provoke
    n_small: int
    n_large: int


FAULTS = {
    "training killed": Fault(kills.kill_training, 2, 60),
    "evaluation killed": Fault(kills.kill_evaluation, 2, 50),
    "Snakemake killed": Fault(kills.kill_snakemake, 1, 5),
    "study killed": Fault(kills.kill_study, 0, 50),
    "two trainings of one run": Fault(kills.two_trainings, 1, 5),
    "two studies at once": Fault(studies.two_studies, 0, 2),
    "disk full": Fault(disk.full_disk, 2, 24),
    "results read-only": Fault(disk.read_only, 1, 4),
    "study on a bad disk": Fault(studies.study_on_a_bad_disk, 0, 4),
    "resume point damaged": Fault(disk.damaged_resume_point, 1, 24),
    "weights damaged": Fault(disk.damaged_weights, 2, 16),
    "input cut off": Fault(disk.cut_inputs, 5, 16),
    "cache deleted": Fault(disk.deleted_cache, 1, 8),
    "cache of a study deleted": Fault(studies.deleted_study_cache, 0, 2),
    "download broken off": Fault(network.broken_downloads, 2, 16),
    "NaN or infinity": Fault(not_finite.not_finite, 4, 16),
    "clock set back": Fault(studies.clock, 1, 3),
}
KINDS = ("recovered", "refused", "failed")


def provoke_all(folder: Path, names: list[str], seed: int, factor: float) -> dict[str, Any]:
    """Provoke the named faults and count the outcomes.

    Args:
        folder: Gets all files.
        names: Of ``FAULTS``.
        seed: Of the random moments; every fault draws from its own generator.
        factor: Of the numbers of faults.
    """
    lab, report = Laboratory(folder), {}
    for name in names:
        n = max(1, round(FAULTS[name].n_large * factor))
        counts, notes, started = Counter[str](), [], time.monotonic()
        try:
            for outcome in FAULTS[name].provoke(lab, random.Random(f"{seed} {name}"), n):
                counts[outcome.kind] += 1
                notes += [outcome.note] if outcome.note else []
        except disk.NoMounts as reason:
            notes.append(f"skipped: {reason}")
        report[name] = {
            "provoked": counts.total(),
            **{kind: counts[kind] for kind in KINDS},
            "notes": notes,
            "time_s": round(time.monotonic() - started, 1),
        }
        print(line(name, report[name]), *notes, sep="\n", flush=True)
    return report


def line(name: str, found: dict[str, Any]) -> str:
    """One row of the table."""
    numbers = "".join(f"{found[key]:>11}" for key in ("provoked", *KINDS))
    return f"{name:<26}{numbers}"


def main() -> None:
    """Provoke faults, print the table, write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", choices=FAULTS, action="append", help="this fault alone")
    parser.add_argument("--factor", type=float, default=1.0, help="of the numbers of faults")
    parser.add_argument("--out", type=Path, required=True, help="the report to write, JSON")
    args = parser.parse_args()
    print(f"seed {args.seed}")
    print(line("fault", {key: key for key in ("provoked", *KINDS)}), flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        faults = provoke_all(Path(folder), args.only or list(FAULTS), args.seed, args.factor)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"seed": args.seed, "faults": faults}, indent=2) + "\n")
    n_failed = sum(found["failed"] for found in faults.values())
    if n_failed:
        sys.exit(f"{n_failed} faults were neither recovered from nor refused clearly: {args.out}")


if __name__ == "__main__":
    main()
