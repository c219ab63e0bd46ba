"""Time this project's lm-eval model class against stock HFLM, and check that the answers agree.

Each arm (ours and stock, in bfloat16 and float32) runs in a separate process, so that peak memory
is measured per arm. They alternate, so that a busy machine slows all of them equally. Two more arms
show what scoring the weights as trained costs: ``trained``, a model whose weights bfloat16 cannot
hold (θ0 with all weights made larger by 0.1 %), and ``rounded``, the same model in plain bfloat16.

In float32, log-likelihoods must agree within 10⁻⁴ nats per choice. In bfloat16, rounding changes
them by about 0.1 nats whenever a batch is composed differently, in stock too; there our error
against float32 must not be larger than stock's.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import operator
import statistics
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from common import MODEL, BenchmarkError
from sft_tradeoff.assets.fetch import cache_dir
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_json, atomic_write_text
from sft_tradeoff.system.processor import multiplies_bfloat16

logger = logging.getLogger(__name__)
TASKS = ("piqa", "commonsense_qa", "openbookqa")
TEXTS = ("code_length_news", "code_length_code")
ALL = "all"
AGAINST_STOCK = ("ours-bfloat16", "stock-bfloat16", "ours-float32", "stock-float32")
AS_TRAINED = ("trained-bfloat16", "rounded-bfloat16")
RATIOS = (
    ("stock-bfloat16", "ours-bfloat16", "≥ 2"),
    ("stock-float32", "ours-float32", ""),
    ("stock-float32", "ours-bfloat16", "≥ 5"),
    ("trained-bfloat16", "rounded-bfloat16", "≤ 1.8"),
)
MAX_LENGTH = 1024  # tokens
CHOICE_NATS = 1e-4  # tolerance per choice in float32
# Stock sums the nats of a long text in float32, whose relative precision is 10⁻⁷.
TEXT_RELATIVE = 2e-7
# Mean rounding errors are themselves noisy.
ROUNDING_SLACK = 1.25


def read_items(tasks: Sequence[str], n_items: int) -> list[dict[str, Any]]:
    """Return ``n_items`` items of the general suite, the first of each task in turn."""
    columns = []
    for task in tasks:
        path = cache_dir() / "benchmarks" / f"{task}.jsonl"
        if not path.exists():
            raise BenchmarkError(f"file not found: {path}; run the study 'quick' once to build it")
        columns.append(path.read_text(encoding="utf-8").splitlines())
    lines = [line for row in zip(*columns, strict=False) for line in row]
    if n_items > len(lines):
        raise BenchmarkError(f"only {len(lines)} items, not {n_items}; lower --items or --texts")
    return [json.loads(line) for line in lines[:n_items]]


def serve(connection: Connection, arm: str, options: argparse.Namespace) -> None:
    """Load one arm, then answer every request (kind, arguments) with (seconds, results)."""
    import torch
    from lm_eval.api.instance import Instance

    from sft_tradeoff.system.provenance import peak_memory_bytes

    torch.set_num_threads(options.threads)
    lm = load_arm(arm, options)
    connection.send("ready")
    while (request := connection.recv()) is not None:
        kind, arguments = request
        instances = [Instance(kind, {}, tuple(a), i) for i, a in enumerate(arguments)]
        started = time.perf_counter()
        results = getattr(lm, kind)(instances, disable_tqdm=True)
        connection.send((time.perf_counter() - started, results))
    connection.send(peak_memory_bytes())


def load_arm(arm: str, options: argparse.Namespace) -> Any:
    """Load the lm-eval model of an arm."""
    import torch
    from lm_eval.models.huggingface import HFLM

    from sft_tradeoff.evaluation import load
    from sft_tradeoff.models.load import load_model
    from sft_tradeoff.models.tokenizer import load_tokenizer

    kind, dtype = arm.split("-")
    if kind == "rounded":
        load.load_in_two_parts = lambda folder: load_model(folder, torch.bfloat16)
    if kind != "stock":
        return load.load_lm(
            options.model if kind == "ours" else options.trained,
            EvaluationSpec(
                dtype=dtype,
                batch_size=options.batch_size,
                batch_tokens=options.batch_tokens,
                max_length=MAX_LENGTH,
            ),
        )
    model = load_model(options.model, getattr(torch, dtype)).eval()
    return HFLM(
        pretrained=model.to("cuda" if torch.cuda.is_available() else "cpu"),
        tokenizer=load_tokenizer(options.model),
        backend="causal",
        batch_size=options.batch_size,
        max_length=MAX_LENGTH,
        softmax_dtype="float32",  # otherwise stock rounds log-probabilities
    )


def write_trained(model: Path, folder: Path) -> None:
    """Write a model whose weights, like those of a training run, are between bfloat16 numbers."""
    import torch

    from sft_tradeoff.models.load import load_model, save_model

    theta0 = load_model(model, torch.float32)
    moved = {name: weight.detach() * 1.001 for name, weight in theta0.named_parameters()}
    save_model(theta0, moved, model, folder)


def measure(work: dict[str, list[Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Run every kind of request on alternating arms; return times, results and memory."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for arm in options.arms:
        pipes[arm], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, arm, options), daemon=True).start()
        theirs.close()  # so that a crash there is an EOFError here
        pipes[arm].recv()
    times: dict[str, dict[str, list[float]]] = {
        kind: {arm: [] for arm in options.arms} for kind in work
    }
    results: dict[str, dict[str, Any]] = {kind: {} for kind in work}
    for kind, arguments in work.items():
        for repeat in range(options.repeats):
            for arm in options.arms:
                pipes[arm].send((kind, arguments))
                seconds, results[kind][arm] = pipes[arm].recv()
                times[kind][arm].append(seconds)
                logger.info("%s, repeat %d, %s: %.1f s", kind, repeat + 1, arm, seconds)
    for pipe in pipes.values():
        pipe.send(None)
    memory = {arm: pipe.recv() for arm, pipe in pipes.items()}
    return {"times": times, "results": results, "memory": memory}


def compare_scores(results: dict[str, list[Any]]) -> dict[str, Any]:
    """Differences of log-likelihoods in nats, and whether they are within tolerance."""
    nats = {
        arm: [row if isinstance(row, float) else row[0] for row in rows]
        for arm, rows in results.items()
    }
    exact = nats["stock-float32"]

    def error(arm: str) -> list[float]:
        return [abs(a - b) for a, b in zip(nats[arm], exact, strict=True)]

    limits = [
        max(CHOICE_NATS, TEXT_RELATIVE * abs(row)) if isinstance(row, float) else CHOICE_NATS
        for row in results["stock-float32"]
    ]
    means = {arm: statistics.mean(error(arm)) for arm in AGAINST_STOCK}
    return {
        "max_error_float32": max(error("ours-float32")),
        "mean_error": means,
        "float32_agrees": all(map(operator.le, error("ours-float32"), limits)),
        "bfloat16_as_near_as_stock": means["ours-bfloat16"]
        <= ROUNDING_SLACK * means["stock-bfloat16"],
    }


def compare_texts(results: dict[str, list[str]]) -> dict[str, Any]:
    """Share of identical generations; in bfloat16 rounding may change some."""

    def same(dtype: str) -> float:
        pairs = zip(results[f"ours-{dtype}"], results[f"stock-{dtype}"], strict=True)
        return statistics.mean(a == b for a, b in pairs)

    shares = {dtype: same(dtype) for dtype in ("bfloat16", "float32")}
    return {"identical": shares, "float32_agrees": shares["float32"] == 1.0}


def ratios(kind: str, times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Median and range of the speed-up over repeats, and its target."""
    rows = []
    for slow, fast, target in RATIOS:
        if not {slow, fast} <= times.keys():
            continue
        values = [a / b for a, b in zip(times[slow], times[fast], strict=True)]
        rows.append(
            {
                "slow": slow,
                "fast": fast,
                "median": statistics.median(values),
                "range": [min(values), max(values)],
                "target": target if kind in ("loglikelihood", ALL) else "",
            }
        )
    return rows


def report(summary: dict[str, Any]) -> str:
    """Markdown of a summary."""
    lines = ["# Evaluation against stock HFLM", "", f"Options: `{summary['options']}`.", ""]
    for kind, part in summary["kinds"].items():
        lines += [f"## {kind}", "", "| arm | seconds (median) | items/s |", "|---|---|---|"]
        for arm, row in part["arms"].items():
            lines.append(f"| {arm} | {row['seconds']:.2f} | {row['items_per_s']:.1f} |")
        lines += ["", "| slower / faster | ratio | range | target |", "|---|---|---|---|"]
        for row in part["ratios"]:
            low, high = row["range"]
            lines.append(
                f"| {row['slow']} / {row['fast']} | {row['median']:.2f} | {low:.2f}-{high:.2f} "
                f"| {row['target']} |"
            )
        lines.append("")
        if part["agreement"]:
            lines += [f"Agreement: `{json.dumps(part['agreement'])}`", ""]
    lines += ["## Peak memory", "", "| arm | MiB |", "|---|---|"]
    lines += [
        f"| {arm} | {size / 2**20:.0f} |" for arm, size in summary["peak_memory_bytes"].items()
    ]
    return "\n".join(lines) + "\n"


def summarize(
    found: dict[str, Any], n_items: dict[str, int], options: argparse.Namespace
) -> dict[str, Any]:
    """Collect everything that is reported."""
    kinds = {}
    times_of = dict(found["times"])
    kinds_of = list(found["times"].values())
    if len(kinds_of) > 1:  # all kinds together, per repeat
        times_of[ALL] = {
            arm: [
                sum(turn) for turn in zip(*(t[arm] for t in found["times"].values()), strict=True)
            ]
            for arm in options.arms
        }
        n_items[ALL] = sum(n_items[kind] for kind in found["times"])
    for kind, times in times_of.items():
        compare: Any = compare_texts if kind == "generate_until" else compare_scores
        arms = {}
        for arm, seconds in times.items():
            median = statistics.median(seconds)
            arms[arm] = {"seconds": median, "items_per_s": n_items[kind] / median, "all": seconds}
        kinds[kind] = {
            "arms": arms,
            "ratios": ratios(kind, times),
            "agreement": {}
            if kind == ALL or not set(AGAINST_STOCK) <= times.keys()
            else compare(found["results"][kind]),
        }
    shown = {k: v for k, v in vars(options).items() if k not in ("out", "model", "trained")}
    return {"options": shown, "kinds": kinds, "peak_memory_bytes": found["memory"]}


def main() -> None:
    """Measure, write ``evaluation.json`` and ``evaluation.md``, and fail if answers disagree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of θ0")
    parser.add_argument(
        "--arms",
        nargs="+",
        choices=(*AGAINST_STOCK, *AS_TRAINED),
        default=AGAINST_STOCK + AS_TRAINED,
    )
    parser.add_argument("--items", type=int, default=600, help="multiple-choice items")
    parser.add_argument("--texts", type=int, default=40, help="texts for code length")
    parser.add_argument("--generate", type=int, default=32, help="prompts to continue greedily")
    parser.add_argument("--new-tokens", type=int, default=64, help="per generation, at most")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of each arm")
    parser.add_argument("--batch-size", type=int, default=16, help="stock, and generation")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="ours, per pass")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads per arm")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write")
    options = parser.parse_args()
    with run_main("benchmark"), tempfile.TemporaryDirectory() as folder:
        in_bfloat16 = [arm for arm in options.arms if arm.endswith("bfloat16")]
        if in_bfloat16 and not multiplies_bfloat16():
            raise BenchmarkError(
                f"--arms: this processor is slow at bfloat16, so {', '.join(in_bfloat16)} would "
                "not be what users get; leave them out"
            )
        options.trained = Path(folder) / "model"
        if not set(AS_TRAINED).isdisjoint(options.arms):
            write_trained(options.model, options.trained)
        items = read_items(TASKS, max(options.items, options.generate))
        head = "Question: {question}\nAnswer:".format_map
        work: dict[str, list[Any]] = {}
        if options.items:
            chosen = items[: options.items]
            work["loglikelihood"] = [(head(i), f" {c}") for i in chosen for c in i["choices"]]
        if options.texts:
            texts = read_items(TEXTS, options.texts)
            work["loglikelihood_rolling"] = [(item["text"],) for item in texts]
        if options.generate:
            limits = {"until": ["\n\n"], "max_gen_toks": options.new_tokens, "do_sample": False}
            work["generate_until"] = [(head(i), limits) for i in items[: options.generate]]
        n_items = {
            "loglikelihood": options.items,
            "loglikelihood_rolling": options.texts,
            "generate_until": options.generate,
        }
        summary = summarize(measure(work, options), n_items, options)
        atomic_write_json(options.out / "evaluation.json", summary)
        atomic_write_text(options.out / "evaluation.md", report(summary))
        checks = [v for k in summary["kinds"].values() for v in k["agreement"].values()]
        if False in checks:
            raise BenchmarkError(f"answers disagree; see {options.out / 'evaluation.md'}")


if __name__ == "__main__":
    main()
