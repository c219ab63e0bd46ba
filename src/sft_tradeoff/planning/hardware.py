"""How long computations take on an assumed GPU."""

from __future__ import annotations

from dataclasses import dataclass

from sft_tradeoff.study.spec import EvaluationSpec

GB = 1e9


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
