"""The benchmarks a study can name. A new one is a file beside this one and a line here."""

from __future__ import annotations

from sft_tradeoff.suite import (
    code_length,
    human_eval,
    instruction_following,
    multiple_choice,
    stock,
    word_problems,
)
from sft_tradeoff.suite.base import Benchmark

MODULES = (
    multiple_choice,
    word_problems,
    instruction_following,
    human_eval,
    code_length,
    stock,
)
BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for module in MODULES for benchmark in module.BENCHMARKS
}
