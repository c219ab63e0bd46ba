"""Try thousands of odd data files, studies and model folders: ``make test-odd``."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.odd_inputs import data, folders, mutations, studies
from tests.odd_inputs.outcome import Outcome, cause
from tests.odd_inputs.workers import Judge, judge_all

CHECK_S, LEARN_S = 10, 60  # seconds for one input
TABLE = Path("docs/odd_inputs.md")
COLUMNS = ("inputs", "accepted", "refused", "trained", "faults")


class Generator(NamedTuple):
    """A kind of input.

    Args:
        inputs: Writes those with the given numbers.
        judge: Of one input.
        learn: Trains and evaluates on an accepted one; None: nothing can be trained.
        n_small: How many are tried with the other tests.
        n_large: How many ``make test-odd`` tries.
        batch: Inputs per process; after a fault the next process takes the rest.
    """

    inputs: Callable[[Path, int, Iterable[int]], Iterable[Any]]
    judge: Judge
    learn: Judge | None
    n_small: int
    n_large: int
    batch: int


GENERATORS = {
    "data files": Generator(data.inputs, data.judge, data.learn, 28, 360, batch=10),
    "studies": Generator(studies.inputs, studies.judge, None, 30, 360, batch=20),
    "model folders": Generator(folders.inputs, folders.judge, folders.learn, 12, 150, batch=5),
    "mutations": Generator(mutations.inputs, mutations.judge, None, 400, 10_200, batch=200),
}


def try_all(name: str, folder: Path, seed: int, numbers: Sequence[int]) -> dict[str, Any]:
    """Judge the inputs of one generator, and train on those that are accepted.

    Args:
        name: Of ``GENERATORS``.
        folder: Gets their files.
        seed: Of their random parts.
        numbers: Which of them.

    Returns:
        One row of the table, and the faults.
    """
    generator, started = GENERATORS[name], time.monotonic()
    inputs = list(generator.inputs(folder, seed, numbers))
    outcomes = judge_all(inputs, generator.judge, CHECK_S, generator.batch)
    faults = [pair for pair in zip(inputs, outcomes, strict=True) if pair[1].kind == "fault"]
    accepted = [one for one, end in zip(inputs, outcomes, strict=True) if end.kind == "accepted"]
    n_trained = 0
    if generator.learn is not None:
        learned = judge_all(accepted, generator.learn, LEARN_S, generator.batch)
        failed = [pair for pair in zip(accepted, learned, strict=True) if pair[1].kind == "fault"]
        n_trained = sum(end.kind == "accepted" for end in learned)
        faults += failed
    kinds = Counter(outcome.kind for outcome in outcomes)
    return {
        "inputs": len(inputs),
        "accepted": kinds["accepted"],
        "refused": kinds["refused"],
        "trained": n_trained,
        "faults": len(faults),
        "by_cause": _by_cause(faults, folder),
        "refusals": {
            f"{i}: {one.name}": end.note
            for i, one, end in zip(numbers, inputs, outcomes, strict=True)
            if end.kind == "refused"
        },
        "time_s": round(time.monotonic() - started, 1),
        "failed": [number_of(one, folder) for one, _ in faults],
    }


def number_of(one: Any, folder: Path) -> str:
    """Name of the folder of an input."""
    return Path(one.path).relative_to(folder).parts[0]


def _by_cause(faults: Iterable[tuple[Any, Outcome]], folder: Path) -> list[dict[str, Any]]:
    """The most frequent cause first, with the inputs' names and one whole note."""
    groups: defaultdict[str, list[tuple[Any, Outcome]]] = defaultdict(list)
    for one, outcome in faults:
        groups[cause(outcome.note)].append((one, outcome))
    return [
        {
            "cause": what,
            "n": len(group),
            "inputs": [f"{number_of(one, folder)}: {one.name}" for one, _ in group],
            "note": group[0][1].note,
        }
        for what, group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def prepare(folder: Path) -> None:
    """Build the two-layer model in a cache that all inputs share; turn progress bars off."""
    from datasets import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    from sft_tradeoff.models.build import build_model
    from sft_tradeoff.models.spec import ModelSpec

    disable_progress_bars()
    disable_progress_bar()
    os.environ["SFT_TRADEOFF_CACHE"] = str(folder)
    model = ModelSpec(format="random")
    build_model(data.MODEL, model, None, folder / "models" / data.MODEL)


def write_table(report: dict[str, Any]) -> None:
    """Write the counts into the document."""
    rows = (
        f"| {name} | {' | '.join(str(found[k]) for k in COLUMNS)} |"
        for name, found in report.items()
    )
    text = TABLE.read_text(encoding="utf-8")
    table = re.compile(r"(?<=^\|---\|---\|---\|---\|---\|---\|\n)(?:\|.*\n)*", re.MULTILINE)
    TABLE.write_text(table.sub("\n".join([*rows, ""]), text), encoding="utf-8")


def line(name: str, found: dict[str, Any]) -> str:
    """One row of the table."""
    return f"{name:<18}" + "".join(f"{found[key]:>10}" for key in COLUMNS)


def main() -> None:
    """Try all inputs, print the table, write the report and the inputs that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", choices=GENERATORS, action="append", help="this kind alone")
    parser.add_argument("--factor", type=float, default=1.0, help="of the numbers of inputs")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for report and failed inputs"
    )
    parser.add_argument("--document", action="store_true", help=f"write the counts into {TABLE}")
    args = parser.parse_args()
    print(f"seed {args.seed}")
    print(line("", {key: key for key in COLUMNS}), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="odd-inputs-") as name:
        folder = Path(name)
        prepare(folder / "cache")
        for kind in args.only or GENERATORS:
            n = max(1, round(GENERATORS[kind].n_large * args.factor))
            here = folder / kind.replace(" ", "_")
            report[kind] = try_all(kind, here, args.seed, range(n))
            print(line(kind, report[kind]), flush=True)
            for number in report[kind].pop("failed"):
                kept = args.out / here.name
                kept.mkdir(exist_ok=True)
                subprocess.run(["cp", "-a", here / number, kept], check=True)  # FIFOs and links too
            content = {"seed": args.seed, "inputs": report}
            (args.out / "report.json").write_text(json.dumps(content, indent=2) + "\n")
    if args.document:
        write_table(report)
    n_faults = sum(found["faults"] for found in report.values())
    if n_faults:
        sys.exit(f"{n_faults} inputs neither worked nor were refused clearly: {args.out}")


if __name__ == "__main__":
    main()
