"""Check the statistics on simulated studies with a known truth: coverage, wrong verdicts, power."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from sft_tradeoff.analysis.calibration import coverage, verdicts
from sft_tradeoff.analysis.calibration.case import Case, Measurement
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import atomic_write_text

MARGIN = 0.015  # of a coverage
METHODS = [*coverage.METHODS]

PAGE = """\
# Calibration

`sft-tradeoff calibrate` draws {studies} studies of each kind below, whose true effect is known,
and applies the intervals and verdicts of this project to them. A share of 95 % of so many studies
has a standard error of {stderr:.1%}. The studies have items in clusters and several seeds; the
proportions of the noise are in
[coverage.py](../src/sft_tradeoff/analysis/calibration/coverage.py) and
[verdicts.py](../src/sft_tradeoff/analysis/calibration/verdicts.py). All numbers are in
[calibration.csv](calibration.csv).

## Coverage of 95 % intervals

Share of studies, in percent, whose interval holds the true value. ↓ is below 93.5: too narrow; ↑ is
above 96.5: wider than necessary.

- *items as independent*: clusters ignored, for comparison only;
- *tables*: the trade-off tables, which combine the standard errors of the seeds;
- *comparisons*: gains and differences between methods, from the items of all seeds;
- *claims*: any statistic, from resampled clusters.

{coverage}

What the intervals cannot do:

- **Few skewed clusters.** If a few texts carry most of a change, a study of eight clusters often
  misses them, and its interval cannot know. Use more clusters.
- **Two or three seeds.** Two seeds say next to nothing about the noise between seeds, so the
  interval has to be wide to hold the truth where seeds differ much. Elsewhere it is wider than
  necessary.
- **Tables over several seeds.** A table does not know how single items differ between seeds, so it
  counts that noise more than once. Gains and comparisons do not.
- **Accuracies near 0 or 1, and few items.** If next to no answer changes, the rule of three
  decides, which is wider.
- **Accuracies, from few items.** They come in steps of one item, so an interval that ends between
  two steps covers a percentage point or two more or less than 95 %, and a method that gains nothing
  is called better or worse a little more often than stated.

## Wrong verdicts

Share of studies, in percent, with a verdict that is wrong, where it is most likely: the true effect
equals the margin, or nothing differs. It should not exceed *stated*; ↑ marks more than three
standard errors above it. Accuracies come in steps, so with 100 items the share of wrong verdicts is
near the stated one rather than below it.

{errors}

## Power

Share of studies, in percent, that see an effect which is as large as
[power.py](../src/sft_tradeoff/stats/power.py) says that they can see, or that are as large as it
says is needed. ↓ and ↑ mark more than three percentage points off.

{power}
"""


def coverage_table(found: Sequence[Measurement]) -> str:
    """One row per case, one column per kind of interval."""
    shares: dict[tuple[str, str], dict[str, Measurement]] = {}
    for row in found:
        shares.setdefault((row.topic, row.case), {})[row.rule] = row
    cells = (
        [*names, *(_covered(rules[name]) if name in rules else "" for name in METHODS)]
        for names, rules in shares.items()
    )
    return markdown_table(["interval of", "studies", *METHODS], cells, n_left=2)


def _covered(row: Measurement) -> str:
    return _marked(row, row.expected - MARGIN, row.expected + MARGIN)


def _marked(row: Measurement, low: float, high: float) -> str:
    mark = " ↓" if row.share < low else " ↑" if row.share > high else ""
    return f"{row.share:.1%}".rstrip("%") + mark


def errors_table(found: Iterable[Measurement]) -> str:
    """One row per case and verdict."""
    header = ["rule", "studies", "verdict", "stated", "measured"]
    cells = (
        [
            *(row.topic, row.case, row.rule, f"{100 * row.expected:g}"),
            _marked(row, 0.0, row.expected + 3 * row.stderr),
        ]
        for row in found
    )
    return markdown_table(header, cells, n_left=3)


def power_table(found: Iterable[Measurement]) -> str:
    """One row per case."""
    header = ["what power.py says", "studies", "stated", "measured"]
    cells = (
        [
            *(row.topic, row.case, f"{100 * row.expected:g}"),
            _marked(row, row.expected - 0.03, row.expected + 0.03),
        ]
        for row in found
    )
    return markdown_table(header, cells, n_left=2)


PARTS: dict[str, tuple[Sequence[Case], Callable[[Sequence[Measurement]], str]]] = {
    "coverage": (coverage.CASES, coverage_table),
    "errors": (verdicts.ERRORS, errors_table),
    "power": (verdicts.POWERS, power_table),
}


def calibrate(studies: int, seed: int, cores: int) -> dict[str, list[Measurement]]:
    """Measure all cases; the result does not depend on the number of cores.

    Args:
        studies: Simulated studies per case.
        seed: Of the random numbers.
        cores: Processes.

    Returns:
        Part of the page -> measurements.
    """
    cases = [(part, case) for part, (own, _) in PARTS.items() for case in own]
    measure = partial(_run, studies=studies, seed=seed)
    found: dict[str, list[Measurement]] = {part: [] for part in PARTS}
    with (
        ProcessPoolExecutor(cores) as pool,
        tqdm(total=len(cases), unit="case", disable=not sys.stderr.isatty()) as progress,
    ):
        rows = pool.map(measure, [case for _, case in cases])
        for (part, _), measured in zip(cases, rows, strict=True):
            found[part] += measured
            progress.update()
    return found


def _run(case: Case, studies: int, seed: int) -> list[Measurement]:
    return case.run(studies, seed)


def page(found: dict[str, list[Measurement]]) -> str:
    """The page of the documentation."""
    studies = found["coverage"][0].studies
    tables = {part: table(found[part]) for part, (_, table) in PARTS.items()}
    return PAGE.format(studies=f"{studies:,}", stderr=found["coverage"][0].stderr, **tables)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff calibrate``."""
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies per case")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    parser.add_argument("--cores", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("docs/calibration.md"), help="the page")
    parser.add_argument(
        "--csv", type=Path, default=Path("docs/calibration.csv"), help="all numbers"
    )


def main(args: argparse.Namespace) -> None:
    """Simulate, and write the page and the numbers."""
    with run_main("calibrate"):
        for name, least in (("studies", 2), ("cores", 1), ("seed", 0)):
            if (given := getattr(args, name)) < least:
                raise UserError(f"--{name} {given}: give at least {least}")
        found = calibrate(args.studies, args.seed, args.cores)
        rows = [{"part": part} | row._asdict() for part, own in found.items() for row in own]
        numbers = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n", float_format="%.4f")
        atomic_write_text(args.csv, numbers)
        atomic_write_text(args.out, page(found))
