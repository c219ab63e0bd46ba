"""Which models and examples training takes, and what it says about them."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.train import train
from tests.unit.models.conftest import SIZES, edit
from tests.unit.training import runs


@pytest.fixture
def data_path(jsonl: Any, examples: Any, tmp_path: Path) -> Path:
    """Four examples."""
    path = tmp_path / "train.npz"
    tokenize_file(byte_tokenizer(), jsonl(examples[:4]), 200).save(path)
    return path


run_config = partial(
    runs.run_config, rate=1e-4, epochs=1, batch_size=4, micro_batch_size=4, precision="fp32_master"
)


def base_model(
    kind: str,
    random_model: Path,
    tmp_path: Path,
    sizes: dict[str, int] | None = None,
    **changes: Any,
) -> Path:
    own = {"vocab_size": 259, "eos_token_id": 257} | (sizes or {})
    config = AutoConfig.for_model(kind, **(SIZES | own))
    source, out = tmp_path / "source", tmp_path / "base"
    AutoModelForCausalLM.from_config(config).save_pretrained(source)
    edit(source / "config.json", **changes)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(random_model / name, source / name)
    build_model("m", ModelSpec(asset="mine"), source, out)
    return out


@pytest.mark.parametrize("kind", ["mamba", "falcon_mamba"])
def test_recurrent_models_train_in_the_default_precision(
    kind: str, random_model: Path, data_path: Path, tmp_path: Path
) -> None:
    base = base_model(kind, random_model, tmp_path)
    train(run_config(), base, data_path, tmp_path / "run/model")
    assert json.loads((tmp_path / "run/train.json").read_text())["train_info"]["n_steps"] == 1
    with pytest.raises(UserError, match=r"peft has no adapters for .*; remove this method from"):
        train(run_config("lora"), base, data_path, tmp_path / "other/model")


def test_a_model_that_does_not_compute_in_bfloat16(
    random_model: Path, data_path: Path, tmp_path: Path
) -> None:
    """XGLM adds float32 positions to its embeddings."""
    sizes = {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48}
    base = base_model("xglm", random_model, tmp_path, sizes)
    with pytest.raises(UserError, match=r"training\.precision: XGLMFor.* in bfloat16 .* to fp32"):
        train(run_config(), base, data_path, tmp_path / "run/model")


def test_the_share_that_adapters_reach_is_recorded(
    random_model: Path, data_path: Path, tmp_path: Path
) -> None:
    for method, share in {"sft": 1.0, "lora": 73728 / 90624}.items():
        train(run_config(method), random_model, data_path, tmp_path / method / "model")
        record = json.loads((tmp_path / method / "train.json").read_text())
        assert record["train_info"]["adapted_share"] == share


def test_examples_longer_than_the_window_are_refused(
    random_model: Path, data_path: Path, tmp_path: Path
) -> None:
    base = base_model("llama", random_model, tmp_path, max_position_embeddings=40)
    with pytest.raises(UserError, match=r"has \d+ tokens, and the model's window has 40"):
        train(run_config(), base, data_path, tmp_path / "run/model")
    assert not (tmp_path / "run").exists()
