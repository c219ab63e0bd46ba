"""Estimate what evaluation costs, from formulas: what is read, what is written, and how fast."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sft_tradeoff.evaluation.base_states import BATCH_TOKENS
from sft_tradeoff.evaluation.kl_reference import PER_EXAMPLE
from sft_tradeoff.planning.example_tokens import example_tokens
from sft_tradeoff.study.config import Study
from sft_tradeoff.study.runs import EvaluationConfig, RunConfig, base_run
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.suite.registry import BENCHMARKS

GB = 1e9
FLOAT32 = 16  # time of a pass in float32, in units of bfloat16, on a GPU without TF32


@dataclass(frozen=True)
class Hardware:
    """Assumptions about one GPU.

    Args:
        tflops: Peak bfloat16 throughput [10¹² operations per second].
        utilization: Share of the peak that training and scoring reach.
        bandwidth: Memory bandwidth [10⁹ bytes per second].
        step_s: Minimum seconds per generation step for any model: Python and kernel launches.
    """

    tflops: float = 400.0
    utilization: float = 0.35
    bandwidth: float = 2000.0
    step_s: float = 0.03

    def hours(self, flops: float) -> float:
        """Return the GPU-hours of floating-point operations."""
        return flops / (self.tflops * 1e12 * self.utilization) / 3600

    def answering_hours(
        self, spec: EvaluationSpec, read: float, written: float, n_parameters: int, *, trained: bool
    ) -> float:
        """Return the GPU-hours of answering: compute limits reading, bandwidth limits writing.

        Args:
            spec: How the model is asked.
            read: Tokens of prompts and of scored answers.
            written: Generated tokens.
            n_parameters: Of the model.
            trained: Whether the weights are trained ones, which Transformers reads in two parts.
        """
        hf = spec.backend == "hf"
        n = n_parameters * (2 if hf and trained else 1)
        step = max(2 * n / (self.bandwidth * GB), self.step_s if hf else 0.0)
        return self.hours(2 * n * read) + written / spec.batch_size * step / 3600


def evaluation_hours(study: Study, config: EvaluationConfig, n: int, hardware: Hardware) -> float:
    """Return the GPU-hours of one evaluation: compute limits reading, bandwidth limits writing."""
    read = written = 0.0
    for domain in config.domains:
        prompt, response = example_tokens(study, config.model, domain)
        read += domain.n_test * (prompt + response)
        written += domain.n_test * response
    for task, limit in config.evaluation.tasks.items():
        benchmark = BENCHMARKS[task]
        n_items, item = min(limit or math.inf, benchmark.n_items), benchmark.item_tokens
        read, written = read + n_items * item[0], written + n_items * item[1]
    trained = config.run != base_run(config.model) or bool(config.starts)
    return hardware.answering_hours(config.evaluation, read, written, n, trained=trained)


def validation_hours(study: Study, run: RunConfig, n: int, hardware: Hardware) -> float:
    """Return the hours in which a run scores its epochs on the validation examples."""
    if run.validation is None:
        return 0.0
    prompt, response = example_tokens(study, run.model, run.domain)
    n_answers = math.ceil(run.training.epochs) * run.domain.n_validation
    read, written = n_answers * (prompt + response), n_answers * response
    return hardware.answering_hours(run.validation.evaluation, read, written, n, trained=True)


def rescoring_hours(
    study: Study, configs: list[EvaluationConfig], n: int, hardware: Hardware
) -> float:
    """Return the GPU-hours of what is scored again without generation, of one model.

    That is all trained weights as shipped, and θ0 for its noise floor: two other sizes of batches,
    and float32. A θ0 that is a run of another model is both.
    """
    flops = 0.0
    for config in configs:
        spec = config.evaluation
        is_base, is_hf = config.run == base_run(config.model), spec.backend == "hf"
        trained = not is_base or config.starts
        n_passes = int(is_hf and spec.as_shipped and bool(trained))
        n_passes += 2 if is_hf and is_base else 0
        if is_base and spec.dtype != "float32":
            n_passes += FLOAT32
        flops += 2 * n * n_passes * _rescored_tokens(study, config)
    return hardware.hours(flops)


def divergence_hours(
    study: Study, configs: list[EvaluationConfig], n: int, hardware: Hardware
) -> float:
    """Return the GPU-hours of measuring how far all runs of one model are from θ0, in float32.

    θ0's own states are computed once more beforehand, and its texts are generated.
    """
    flops = seconds = 0.0
    for config in configs:
        if config.divergence is None:
            continue
        spec, is_base = config.divergence, config.run == base_run(config.model)
        n_prompts = math.ceil(spec.kl_positions / PER_EXAMPLE)
        prompts = [
            min(n_prompts, domain.n_test) * example_tokens(study, config.model, domain)[0]
            for domain in config.domains
        ]
        n_tokens = sum(prompts) + spec.sampled_texts * spec.sampled_tokens
        flops += 2 * n * FLOAT32 * n_tokens * (2 if is_base else 1)
        if is_base and spec.sampled_texts:
            rows = max(1, BATCH_TOKENS // spec.sampled_tokens)
            n_steps = math.ceil(spec.sampled_texts / rows) * spec.sampled_tokens
            seconds += n_steps * max(4 * n / (hardware.bandwidth * GB), hardware.step_s)
    return hardware.hours(flops) + seconds / 3600


def _rescored_tokens(study: Study, config: EvaluationConfig) -> float:
    """Tokens of the right answers with their prompts, and of the texts whose code length counts."""
    found = [d.n_test * sum(example_tokens(study, config.model, d)) for d in config.domains]
    for task, limit in config.evaluation.tasks.items():
        if (benchmark := BENCHMARKS[task]).kind == "text":
            found.append(min(limit or math.inf, benchmark.n_items) * benchmark.item_tokens[0])
    return sum(found)
