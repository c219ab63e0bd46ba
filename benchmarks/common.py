"""Shared by the scripts that measure speed: examples, run configuration, default model, error."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from sft_tradeoff.assets.fetch import cache_dir
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.models.spec import built_model
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.study.spec import MethodSpec, TrainingSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.tokens.tokenize import tokenize_file

MODEL = built_model(cache_dir(), "smollm2-135m-instruct")
MAX_LENGTH = 768


class BenchmarkError(UserError, ValueError):
    """A measurement cannot run, or its contenders disagree."""


def training_data(domain: dict[str, Any], n_examples: int, model: Path) -> TokenizedData:
    """Tokenize the first examples of a domain, given its settings other than the defaults."""
    spec = domain_spec(**domain, n_train=n_examples, n_validation=0, n_test=1)
    with tempfile.TemporaryDirectory() as folder:
        write_domain(spec, Path(folder))
        return tokenize_file(load_tokenizer(model), Path(folder) / "train.jsonl", MAX_LENGTH)


def run_config(model: Path, training: TrainingSpec, method: MethodSpec | None = None) -> RunConfig:
    """Configuration of one of our runs; only model, method and training matter here."""
    return RunConfig(
        run=method.name if method else "sft",
        model=model.name,
        model_digest="",
        domain=domain_spec(name="medcalc"),
        method=method or MethodSpec(name="sft"),
        learning_rate=1e-5,
        seed=0,
        training=training,
    )
