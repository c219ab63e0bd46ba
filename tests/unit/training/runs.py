"""Settings of a run, for tests of training."""

from __future__ import annotations

from typing import Any

from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.study.spec import MethodSpec, TrainingSpec


def run_config(method: str = "sft", rate: float = 1e-5, **training: Any) -> RunConfig:
    """A run with a method's default options."""
    return RunConfig(
        run="test",
        model="m",
        model_digest="",
        domain=domain_spec(name="medcalc"),
        method=MethodSpec(name=method),
        learning_rate=rate,
        seed=0,
        training=TrainingSpec(**training),
    )
