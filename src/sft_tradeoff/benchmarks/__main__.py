"""Build one offline benchmark: ``python -m sft_tradeoff.benchmarks``."""

from __future__ import annotations

import argparse
from pathlib import Path

from sft_tradeoff.benchmarks import BENCHMARKS, build_benchmark
from sft_tradeoff.console import run_main
from sft_tradeoff.sources import check_asset


def main() -> None:
    """Write one benchmark's JSONL file from its asset."""
    parser = argparse.ArgumentParser(description="Build one offline benchmark.")
    parser.add_argument("--name", required=True, choices=sorted(BENCHMARKS))
    parser.add_argument("--source", type=Path, help="folder of the asset; none if generated")
    parser.add_argument("--source-record", type=Path, help="the asset's SOURCE.json")
    parser.add_argument("--out", type=Path, required=True, help="the JSONL file to write")
    args = parser.parse_args()
    with run_main(args.name):
        if args.source_record:
            check_asset(args.source, args.source_record)
        build_benchmark(args.name, args.source, args.out)


if __name__ == "__main__":
    main()
