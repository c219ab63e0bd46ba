"""Check that cost is linear: speed, memory and start-up with 100, 1,000 and 10,000 examples.

All sizes are measured on steps of the same number of tokens, taken from an epoch of that size.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common import MODEL, BenchmarkError, training_data
from contender import measure, steps_of
from sft_tradeoff.models.folder import read_record
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_json, atomic_write_text
from sft_tradeoff.system.provenance import meta_info

MAX_RATIO = 1.10  # between any two sizes


def first_examples(data: TokenizedData, n: int) -> TokenizedData:
    """Return the first n examples."""
    end = data.offsets[n]
    return TokenizedData(
        input_ids=data.input_ids[:end],
        response_mask=data.response_mask[:end],
        offsets=data.offsets[: n + 1],
        truncated=data.truncated[:n],
        cluster=data.cluster[:n],
    )


def step_tokens(data: TokenizedData, batch_size: int) -> np.ndarray:
    """Tokens of every step of an epoch; 0 for a batch that is not full."""
    steps = steps_of(data, batch_size)
    return np.array([data.lengths[r].sum() if len(r) == batch_size else 0 for r in steps])


def steps_like(data: TokenizedData, targets: np.ndarray, batch_size: int) -> list[int]:
    """Different steps of the epoch with numbers of tokens as close to the targets as possible."""
    tokens = step_tokens(data, batch_size).astype(float)
    chosen = []
    for target in targets:
        chosen.append(int(np.abs(tokens - target).argmin()))
        tokens[chosen[-1]] = np.inf
    return chosen


def summarize(records: list[dict[str, Any]], n_examples: int) -> dict[str, Any]:
    """Fastest repeat of every step (load can only slow it down); medians of the rest."""
    own = [r for r in records if r["n_examples"] == n_examples]
    seconds = np.array([r["step_seconds"][1:] for r in own])  # (repeats, steps)
    n_tokens = own[0]["n_tokens"][1:]
    return {
        "n_examples": n_examples,
        "tokens_per_step": float(np.mean(n_tokens)),
        "tokens_per_s": sum(n_tokens) / float(seconds.min(0).sum()),
        "peak_memory_bytes": float(np.median([r["peak_memory_bytes"] for r in own])),
        "first_step_begins_s": float(np.median([r["first_step_begins_s"] for r in own])),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """Table, one row per size."""
    lines = [
        "| examples | tokens/s | peak MiB | first step begins, s | tokens per step |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['n_examples']} | {row['tokens_per_s']:.0f} "
            f"| {row['peak_memory_bytes'] / 2**20:.0f} | {row['first_step_begins_s']:.1f} "
            f"| {row['tokens_per_step']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def check_flat(rows: list[dict[str, Any]]) -> None:
    """Raise an error if speed or memory changes with the number of examples."""
    for key in ("tokens_per_s", "peak_memory_bytes"):
        values = {row["n_examples"]: row[key] for row in rows}
        if max(values.values()) > MAX_RATIO * min(values.values()):
            raise BenchmarkError(
                f"{key} differs by more than a factor of {MAX_RATIO:g} between sizes: {values}; "
                "repeat on an idle machine or with more --repeats, then look for the cause"
            )


def main() -> None:
    """Time alternating sizes; write ``linear_cost.{json,md}``; fail if they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of θ0")
    parser.add_argument("--examples", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--steps", type=int, default=6, help="timed steps, after one warm-up step")
    parser.add_argument("--repeats", type=int, default=3, help="processes per size")
    parser.add_argument("--batch-size", type=int, default=8, help="sequences per step")
    threads = os.cpu_count()
    parser.add_argument("--threads", type=int, default=threads, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write")
    options = parser.parse_args()
    with run_main("bench linear cost"), tempfile.TemporaryDirectory() as folder:
        sizes = sorted(options.examples)
        if sizes[0] // options.batch_size <= options.steps:
            raise BenchmarkError(
                f"{sizes[0]} examples are too few for {options.steps + 1} batches of "
                f"{options.batch_size}; raise --examples or lower --steps"
            )
        data = training_data({"name": "medcalc"}, sizes[-1], options.model)
        full = step_tokens(first_examples(data, sizes[0]), options.batch_size)
        targets = np.quantile(
            full[full > 0], np.linspace(1, 0, options.steps + 1), method="nearest"
        )
        files, steps = {}, {}
        for size in sizes:
            part, files[size] = first_examples(data, size), Path(folder) / f"{size}.npz"
            part.save(files[size])
            steps[size] = steps_like(part, targets, options.batch_size)
        records = []
        for size in tqdm(sizes * options.repeats, disable=None):
            record = measure("ours", files[size], steps[size], options)
            records.append({"n_examples": size, **record})
        rows = [summarize(records, size) for size in sizes]
        names = ("steps", "repeats", "batch_size", "threads")
        settings = {name: getattr(options, name) for name in names}
        result = {
            "settings": settings,
            "meta_info": meta_info(read_record(options.model)),
            "sizes": rows,
        }
        atomic_write_json(options.out / "linear_cost.json", result | {"records": records})
        atomic_write_text(options.out / "linear_cost.md", markdown(rows))
        print(markdown(rows))
        check_flat(rows)


if __name__ == "__main__":
    main()
