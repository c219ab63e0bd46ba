"""Build one task of the general suite."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from pathlib import Path

from sft_tradeoff.assets.fetch import check_asset
from sft_tradeoff.suite import items as schema
from sft_tradeoff.suite.items import BenchmarkError, Item, ItemFile
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_text

logger = logging.getLogger(__name__)


# Determines the order of the items and so every score on the first n of them: never change it.
SHUFFLE_SEED = 0


def shuffled(items: list[Item], seed: int = SHUFFLE_SEED) -> list[Item]:
    """Return the items in a fixed random order, so that the first n are a random sample.

    The order is by a hash of seed and id rather than by a random generator: it does not depend on
    the version of any library, and dropping an item does not move the others.
    """
    return sorted(items, key=lambda i: hashlib.sha256(f"{seed}:{i['id']}".encode()).digest())


def build_benchmark(name: str, source: Path | None, out: Path) -> int:
    """Write one benchmark's JSONL file.

    Args:
        name: Key of :data:`BENCHMARKS`.
        source: The asset's folder; None if the items are generated.
        out: The file to write.

    Returns:
        Number of items.

    Raises:
        BenchmarkError: If the material is missing or not in the expected form.
    """
    benchmark = BENCHMARKS[name]
    if benchmark.asset is not None and source is None:
        raise BenchmarkError(f"{name}: --source is missing; give the folder of {benchmark.asset!r}")
    built: list[Item] = benchmark.build(source)  # type: ignore[arg-type]  # None only without an asset
    items = schema.check_items(
        ((f"item {n} of {source or name}", item) for n, item in enumerate(built, 1)),
        name=name,
        kind=benchmark.kind,
        columns=benchmark.columns,
        fix=f"the material is not in the expected form; fetch {benchmark.asset!r} again",
    )
    lines = (json.dumps(item, ensure_ascii=False) + "\n" for item in shuffled(items))
    atomic_write_text(out, "".join(lines), checksum=True)
    logger.info("%s: %d items", name, len(items))
    return len(items)


def check_items(name: str, path: Path) -> ItemFile:
    """Read a built benchmark and check every item, before any model runs.

    Args:
        name: Key of :data:`BENCHMARKS`.
        path: The JSONL file.

    Returns:
        The items in the order of the file, and its hash.

    Raises:
        BenchmarkError: Naming benchmark, file, line, id, defect and fix.
    """
    benchmark = BENCHMARKS[name]
    return schema.load_items(path, name=name, kind=benchmark.kind, columns=benchmark.columns)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff build-benchmark``."""
    parser.add_argument("--name", required=True, choices=sorted(BENCHMARKS))
    parser.add_argument("--source", type=Path, help="the asset's folder; not for generated items")
    parser.add_argument("--source-record", type=Path, help="the asset's SOURCE.json")
    parser.add_argument("--out", type=Path, required=True, help="the JSONL file to write")


def main(args: argparse.Namespace) -> None:
    """Write one benchmark's JSONL file from its asset."""
    with run_main(args.name):
        if args.source_record:
            check_asset(args.source, args.source_record)
        build_benchmark(args.name, args.source, args.out)
