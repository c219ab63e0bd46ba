"""What the benchmarks share: examples, run configuration, the default model and their error."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from sft_tradeoff.assets.fetch import cache_dir
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.study.spec import MethodSpec, TrainingSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.tokens.tokenize import tokenize_file

MODEL = cache_dir() / "models" / "smollm2-135m-instruct"
MAX_LENGTH = 768


class BenchmarkError(UserError, ValueError):
    """The benchmark cannot run, or answers disagree."""


def training_data(domain: dict[str, Any], n_examples: int, model: Path) -> TokenizedData:
    """Tokenize the first examples of a domain, given the settings that differ from its defaults."""
    spec = domain_spec(**domain, n_train=n_examples, n_validation=0, n_test=1)
    with tempfile.TemporaryDirectory() as folder:
        write_domain(spec, Path(folder))
        return tokenize_file(load_tokenizer(model), Path(folder) / "train.jsonl", MAX_LENGTH)


def run_config(model: Path, training: TrainingSpec, method: MethodSpec | None = None) -> RunConfig:
    """Configuration of one run of ours; only model, method and training have an effect here."""
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
