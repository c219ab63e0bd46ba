"""Compare training speed and memory with TRL's SFTTrainer and Transformers' Trainer.

Every contender runs in a fresh process per repeat, so that start-up and peak memory are measured
per contender. They alternate, so that a busy machine slows all of them equally. Before that,
float32 versions take a few steps whose losses must agree; otherwise the speeds would be those of
different trainings.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from common import MODEL, BenchmarkError, training_data
from contender import CONTENDERS, DEFAULT, FLOAT32, PRODUCTS, measure
from sft_tradeoff.models.folder import read_record
from sft_tradeoff.report.figures.style import COLORS, house_style, new_panels, save_figure
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_json, atomic_write_text
from sft_tradeoff.system.provenance import meta_info

WORKLOADS: dict[str, dict[str, Any]] = {
    "medcalc": {"name": "medcalc"},
    "esci": {"name": "esci", "variant": "label_only"},
    "math": {"name": "math"},
}
# Largest difference in nats between losses of the same step in the same precision. Float32 sums in
# different orders differ by 1e-5. In bfloat16, implementations differ by 0.02 if few tokens are
# supervised. All differ from float32 by more than that, so it is not a sign of an error: AdamW's
# first updates have the size of the learning rate however small the gradient, so that rounding
# becomes part of the update.
BANDS = {"float32": 1e-3, "bfloat16": 0.05}
Record = dict[str, Any]


def precision(record: Record) -> str:
    """Precision in which a contender computes."""
    return "float32" if record["contender"] in FLOAT32 else "bfloat16"


def loss_pairs(
    records: list[Record], record: Record, wanted: str
) -> Iterator[tuple[int, float, float, str]]:
    """Yield (step, own loss, other loss, other's name) for all others in a precision."""
    for other in records:
        same = all(other[key] == record[key] for key in ("workload", "contender"))
        if other["workload"] != record["workload"] or same or other["contender"] == PRODUCTS:
            continue
        if precision(other) == wanted:
            pairs = zip(record["losses"], other["losses"], strict=False)  # up to the shorter one
            for step, (found, expected) in enumerate(pairs, start=1):
                yield step, found, expected, other["contender"]


def check_losses(records: list[Record], record: Record) -> None:
    """Compare the losses of one contender with those of the others in the same precision.

    Raises:
        BenchmarkError: At the first difference beyond the tolerance, naming step and values.
    """
    band = BANDS[precision(record)]
    for step, found, expected, other in loss_pairs(records, record, precision(record)):
        if not abs(found - expected) <= band:  # NaN is an error too
            raise BenchmarkError(
                f"{record['workload']}, step {step}: loss {found:.5f} of {record['contender']}, "
                f"{expected:.5f} of {other}; they differ by more than {band}, so the contenders "
                "train differently and their speeds are not comparable"
            )


def largest_difference(records: list[Record], own: list[Record], wanted: str) -> float:
    """Largest difference in nats from the losses of all others in a precision."""
    pairs = (pair for record in own for pair in loss_pairs(records, record, wanted))
    return max((abs(found - expected) for _, found, expected, _ in pairs), default=math.nan)


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median and range."""
    values = list(values)
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def rate(record: Record, key: str) -> float:
    """Tokens per second over all steps except the first, a warm-up."""
    return sum(record[key][1:]) / sum(record["step_seconds"][1:])


def summarize(records: list[Record], workload: str) -> dict[str, Any]:
    """Medians and ranges over repeats of one workload, for every contender."""
    mine = [r for r in records if r["workload"] == workload]
    names = [n for n in CONTENDERS if any(r["contender"] == n for r in mine)]
    runs = {name: [r for r in mine if r["contender"] == name] for name in names}
    products = [r for r in mine if r["contender"] == PRODUCTS]
    table = {}
    for name, own in runs.items():
        row = {
            "tokens_per_s": spread(rate(r, "n_tokens") for r in own),
            "supervised_tokens_per_s": spread(rate(r, "n_supervised") for r in own),
            "seconds_per_step": spread(s for r in own for s in r["step_seconds"][1:]),
            "peak_memory_bytes": spread(r["peak_memory_bytes"] for r in own),
            "first_step_begins_s": spread(r["first_step_begins_s"] for r in own),
            "first_step_ends_s": spread(r["first_step_ends_s"] for r in own),
            "loss_difference": {p: largest_difference(records, own, p) for p in BANDS},
        }
        if name not in FLOAT32:
            row |= share_of_bound(own, products) | ratio_of_ours(own, runs.get("ours", []))
        table[name] = row
    return {"contenders": table, "products": product_rates(products)}


def share_of_bound(own: list[Record], products: list[Record]) -> dict[str, Any]:
    """Time of the steps' matrix products as a share of the time of the steps."""
    if not products:
        return {}
    pairs = zip(own, products, strict=False)  # repeat by repeat
    shares = (sum(p["bound_seconds"][1:]) / sum(r["step_seconds"][1:]) for r, p in pairs)
    return {"share_of_bound": spread(shares)}


def ratio_of_ours(own: list[Record], ours: list[Record]) -> dict[str, Any]:
    """Speed of ours as a multiple, and its memory as a share, per repeat."""
    if not ours:
        return {}
    pairs = list(zip(own, ours, strict=False))
    return {
        "ours_faster_by": spread(rate(o, "n_tokens") / rate(r, "n_tokens") for r, o in pairs),
        "ours_memory": spread(o["peak_memory_bytes"] / r["peak_memory_bytes"] for r, o in pairs),
    }


def product_rates(products: list[Record]) -> dict[str, Any]:
    """Time of each kind of matrix product, and the bound as a rate."""
    if not products:
        return {}
    kinds = products[0]["products"][0]
    return {
        "tokens_per_s": spread(
            sum(p["n_tokens"][1:]) / sum(p["bound_seconds"][1:]) for p in products
        ),
        "useful_flops_per_s": spread(
            sum(p["useful_flops"][1:]) / sum(p["bound_seconds"][1:]) for p in products
        ),
        "seconds_per_step": {
            kind: spread(step[kind] for p in products for step in p["products"]) for kind in kinds
        },
    }


def text(value: dict[str, float] | None, form: str, scale: float = 1.0) -> str:
    """Median and range as text."""
    if value is None:
        return ""
    middle, low, high = (format(value[key] * scale, form) for key in ("median", "low", "high"))
    return middle if low == high else f"{middle} ({low}–{high})"


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "tokens/s": lambda row: text(row["tokens_per_s"], ".0f"),
    "ours is faster by": lambda row: text(row.get("ours_faster_by"), ".2f"),
    "supervised tokens/s": lambda row: text(row["supervised_tokens_per_s"], ".0f"),
    "seconds per step": lambda row: text(row["seconds_per_step"], ".2f"),
    "share of matrix-product bound": lambda row: text(row.get("share_of_bound"), ".0%"),
    "peak MiB": lambda row: text(row["peak_memory_bytes"], ".0f", 2**-20),
    "first step begins, s": lambda row: text(row["first_step_begins_s"], ".1f"),
    "ends, s": lambda row: text(row["first_step_ends_s"], ".1f"),
    "loss against others' float32": lambda row: f"{row['loss_difference']['float32']:.0e}",
    "bfloat16": lambda row: f"{row['loss_difference']['bfloat16']:.0e}",
}


def markdown(result: dict[str, Any]) -> str:
    """Tables of all workloads: medians and ranges over repeats (seconds per step: over steps)."""
    lines = [f"Settings: `{result['settings']}`.", ""]
    for workload, part in result["workloads"].items():
        lines += [f"## {workload}", "", f"| contender | {' | '.join(COLUMNS)} |"]
        lines.append("|---" * (1 + len(COLUMNS)) + "|")
        for name, row in part["contenders"].items():
            lines.append(f"| {name} | {' | '.join(show(row) for show in COLUMNS.values())} |")
        if products := part["products"]:
            lines += [
                "",
                f"Matrix products alone: {text(products['tokens_per_s'], '.0f')} tokens/s, "
                f"{text(products['useful_flops_per_s'], '.0f', 1e-9)} GFLOP/s; seconds per step: "
                + ", ".join(
                    f"{kind.replace('_', ' ')} {text(seconds, '.2f')}"
                    for kind, seconds in products["seconds_per_step"].items()
                )
                + ".",
            ]
        lines.append("")
    return "\n".join(lines)


def draw(result: dict[str, Any], stem: Path) -> None:
    """Bars of tokens per second with their range over repeats, one panel per workload."""
    frame = pd.DataFrame(
        {"workload": workload, "contender": name, **row["tokens_per_s"]}
        for workload, part in result["workloads"].items()
        for name, row in part["contenders"].items()
        if name not in FLOAT32
    )
    if frame.empty:
        return
    with house_style():
        workloads = list(frame["workload"].unique())
        figure, axes = new_panels(1, len(workloads), 1.6)
        for panel, workload in zip(axes[0], workloads, strict=True):
            rows = frame[frame["workload"] == workload]
            colors = [COLORS[1] if name == "ours" else COLORS[6] for name in rows["contender"]]
            error = [rows["median"] - rows["low"], rows["high"] - rows["median"]]
            panel.barh(rows["contender"], rows["median"], xerr=error, color=colors, capsize=2)
            panel.invert_yaxis()
            panel.set_title(workload)
            panel.set_xlabel("tokens/s")
        save_figure(figure, frame, stem)


def write(records: list[Record], options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """Write the measurements so far; return them as Markdown."""
    names = ("steps", "float32_steps", "batch_size", "repeats", "threads")
    workloads = dict.fromkeys(record["workload"] for record in records)
    result = {
        "settings": {name: getattr(options, name) for name in names},
        "meta_info": facts,
        "workloads": {workload: summarize(records, workload) for workload in workloads},
        "records": records,
    }
    atomic_write_json(options.out / "training.json", result)
    atomic_write_text(options.out / "training.md", markdown(result))
    draw(result, options.out / "training")
    return markdown(result)


def plan(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Workload, contender and number of steps of every process, in order."""
    timed = [name for name in options.contenders if name not in FLOAT32]
    exact = [name for name in options.contenders if name in FLOAT32]
    jobs = []
    for workload in options.workloads:
        jobs += [(workload, name, options.float32_steps) for name in exact]
        turn = [*timed, PRODUCTS] if timed else []
        jobs += [(workload, name, options.steps) for name in turn * options.repeats]
    return jobs


def main() -> None:
    """Time the contenders; write ``training.{json,md,png,pdf,csv}``; fail if losses disagree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every, threads = [*DEFAULT, *FLOAT32], os.cpu_count()
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of θ0")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=every)
    parser.add_argument("--repeats", type=int, default=3, help="processes per contender")
    parser.add_argument("--steps", type=int, default=12, help="steps each, the first untimed")
    parser.add_argument(
        "--float32-steps", type=int, default=4, help="steps whose losses must agree"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="sequences per step")
    parser.add_argument("--threads", type=int, default=threads, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write")
    options = parser.parse_args()
    with run_main("bench training"), tempfile.TemporaryDirectory() as folder:
        if min(options.steps, options.float32_steps) < 2:
            raise BenchmarkError("--steps and --float32-steps must be at least 2: one is a warm-up")
        n_examples = options.batch_size * max(options.steps, options.float32_steps)
        data = {name: Path(folder) / f"{name}.npz" for name in options.workloads}
        for name, path in data.items():
            training_data(WORKLOADS[name], n_examples, options.model).save(path)
        facts, records, shown = meta_info(read_record(options.model)), [], ""
        for workload, contender, n_steps in (jobs := tqdm(plan(options), disable=None)):
            jobs.set_description(f"{workload}, {contender}")
            record = measure(contender, data[workload], list(range(n_steps)), options)
            records.append({"workload": workload, "contender": contender, **record})
            shown = write(records, options, facts)
            if contender != PRODUCTS:
                check_losses(records, records[-1])
        print(shown)


if __name__ == "__main__":
    main()
