"""Weights load as they were saved, or are refused with a reason."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import ModelError
from sft_tradeoff.models.load import load_model, save_model, without_dropout
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.system.files import sha256_of
from tests.unit.models.conftest import SAFETENSORS, edit


def test_truncated_weights_name_the_file(copied: Path, tmp_path: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"source/model\.safetensors is damaged or truncated"):
        load_model(copied, torch.float32)
    with pytest.raises(ModelError, match="is damaged or truncated"):
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    assert sorted(os.listdir(tmp_path)) == ["mine.lock", "source"]


def test_pickled_weights_are_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled \(pytorch_model\.bin\).*only safetensors"):
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    with pytest.raises(ModelError, match="only safetensors"):
        load_model(copied, torch.float32)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_missing_file_is_named(copied: Path, tmp_path: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_code_in_the_folder_never_runs(copied: Path) -> None:
    edit(copied / "config.json", model_type="own", auto_map={"AutoConfig": "evil.Config"})
    (copied / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match=r"config\.json: Transformers cannot read it"):
        load_model(copied, torch.float32)


def test_nothing_is_said_about_progress(
    random_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Transformers' bars last a moment each, and would fill a study's terminal."""
    transformers.utils.logging.enable_progress_bar()  # whatever other tests have done
    model = load_model(random_model, torch.float32)
    save_model(model, dict(model.named_parameters()), random_model, tmp_path / "saved")
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_saved_model_keeps_the_masters_exactly(random_model: Path, tmp_path: Path) -> None:
    model = load_model(random_model, torch.float32)
    masters = {n: p.detach() + 1e-6 for n, p in model.named_parameters()}
    model.to(torch.bfloat16)
    save_model(model, masters, random_model, tmp_path / "run" / "final")
    loaded = load_model(tmp_path / "run" / "final", torch.float32)
    assert all(torch.equal(p, masters[n]) for n, p in loaded.named_parameters())
    assert load_tokenizer(tmp_path / "run" / "final").chat_template
    config = json.loads((tmp_path / "run" / "final" / "config.json").read_text())
    assert config["dtype"] == "float32"
    vouched = json.loads((tmp_path / "run" / "final" / "MODEL.json").read_text())
    assert vouched["sha256"] == sha256_of(tmp_path / "run" / "final" / "model.safetensors")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(
    random_model: Path, copied: Path, tmp_path: Path, value: float
) -> None:
    """When they are saved, loaded and, so that the user's folder is named, built from."""
    model = load_model(random_model, torch.float32)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    name = next(reversed(weights))
    weights[name].view(-1)[-1] = value
    with pytest.raises(ModelError, match=f"'{name}' of the trained model holds NaN or infinity"):
        save_model(model, weights, random_model, tmp_path / "final")
    assert not (tmp_path / "final").exists()

    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    message = rf"{copied}: weight '{name}' holds NaN or infinity.*; copy or download the model"
    with pytest.raises(ModelError, match=message):
        load_model(copied, torch.float32)
    with pytest.raises(ModelError, match=message):
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")


def test_largest_finite_weights_are_no_infinity(random_model: Path, tmp_path: Path) -> None:
    """Their sum exceeds the largest float32."""
    model = load_model(random_model, torch.float32)
    largest = torch.finfo(torch.float32).max
    weights = {n: torch.full_like(p, largest) for n, p in model.named_parameters()}
    save_model(model, weights, random_model, tmp_path / "final")
    load_model(tmp_path / "final", torch.float32)


def test_a_flipped_bit_is_refused(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cache holds can be made again; a user's own folder, even if it lies there, not."""
    folder = tmp_path / "models/model"
    shutil.copytree(random_model, folder)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    for cache in ("other", "models"):
        monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path / cache))
        with pytest.raises(ModelError, match=r"since it was written; copy or download the model"):
            load_model(folder, torch.float32)
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"written; delete the folder \S+/model and run the same"):
        load_model(folder, torch.float32)


def test_a_router_without_jitter_agrees_with_itself() -> None:
    """Mixtral's multiplies its inputs by random numbers in training."""
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    config = transformers.MixtralConfig(**sizes, **heads, router_jitter_noise=0.5)
    model = transformers.AutoModelForCausalLM.from_config(config).train()
    ids = torch.arange(1, 9)[None]
    assert not torch.equal(model(ids).logits, model(ids).logits)
    model = without_dropout(model)
    assert torch.equal(model(ids).logits, model(ids).logits)
