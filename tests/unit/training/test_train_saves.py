"""What training saves: all of the model, and what loads again is what was trained, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from sft_tradeoff.models import load as models
from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import ModelError, tensor_shapes
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tensor_names import persistent_buffers
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.system.console import UserError
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.loop import Trainer
from sft_tradeoff.training.train import train
from tests.unit.training import runs

SIZES = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 257,
    "pad_token_id": None,
    "moe_intermediate_size": 16,
}
# Routers are corrected by a buffer, by one behind renamed and fused experts, and by a parameter
# that gets no gradient; the parameters of xIELU come with two buffers.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "lfm2_moe": {
        "layer_types": ["conv", "full_attention"],
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_dense_layers": 0,
    },
    "glm4_moe": {
        "head_dim": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    },
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2},
    "apertus": {},
}


PEAK = """
import sys
from pathlib import Path
import torch
from sft_tradeoff.models import load as models

def peak():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) * 1024

def measured(*arguments):
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    check(*arguments)
    print(peak() - before)

big, small, out = map(Path, sys.argv[1:])
model = models.load_model(big, torch.float32)
weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
check, models._refuse_other_model = models._refuse_other_model, lambda *_: None
models.save_model(models.load_model(small, torch.float32), dict(models.load_model(
    small, torch.float32).named_parameters()), small, out)  # allocations of any first call
models._refuse_other_model = measured
models.save_model(model, weights, small, out)
"""


run_config = partial(runs.run_config, rate=1e-7, epochs=1, batch_size=8, micro_batch_size=4)


@pytest.fixture
def data_path(jsonl: Any, examples: Any, tmp_path: Path) -> Path:
    path = tmp_path / "train.npz"
    tokenize_file(byte_tokenizer(), jsonl(examples), 200).save(path)
    return path


def theta0(architecture: str, random_model: Path, tmp_path: Path) -> Path:
    """Folder of a tiny model whose corrections differ from their initial values."""
    config = AutoConfig.for_model(architecture, **SIZES, **ARCHITECTURES[architecture])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    with torch.no_grad():
        for tensor in [*persistent_buffers(model).values(), *frozen]:
            tensor.normal_(0.5, 0.1)
    source = tmp_path / "source"
    model.save_pretrained(source)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(random_model / name, source / name)
    out = tmp_path / "base"
    build_model("m", ModelSpec(asset="mine", format="safetensors"), source, out)
    return out


def logits(folder: Path) -> torch.Tensor:
    model = load_model(folder, torch.float32).eval()
    with torch.inference_mode():
        found: torch.Tensor = model(torch.arange(1, 13)[None], use_cache=False).logits
    return found


@pytest.mark.parametrize("method", ["sft", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_not_trained_is_saved_as_it_was(
    architecture: str, method: str, random_model: Path, data_path: Path, tmp_path: Path
) -> None:
    """bfloat16 computes, but nothing that it rounded is saved."""
    base = theta0(architecture, random_model, tmp_path)
    train(run_config(method, precision="fp32_master"), base, data_path, tmp_path / "run" / "model")
    final = tmp_path / "run" / "model"
    assert tensor_shapes(final) == tensor_shapes(base)
    before, after = (load_file(f / "model.safetensors") for f in (base, final))
    untrained = [n for n in before if any(w in n for w in ("bias", "beta", "eps"))]
    assert len(untrained) >= 1
    assert all(torch.equal(after[n], before[n].float()) for n in untrained)
    torch.testing.assert_close(logits(final), logits(base), rtol=0, atol=1e-4)
    assert not torch.equal(logits(final), logits(base))


def test_integers_among_the_weights_do_not_set_the_dtype(
    random_model: Path, data_path: Path, tmp_path: Path
) -> None:
    """DeepSeek V4 saves a table of experts by token before its weights."""
    sizes = {"head_dim": 8, "qk_rope_head_dim": 8, "q_lora_rank": 16, "o_lora_rank": 16}
    config = AutoConfig.for_model("deepseek_v4", **SIZES, **sizes, n_routed_experts=4)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    assert torch.int64 in {b.dtype for b in persistent_buffers(model).values()}
    source, base, final = (tmp_path / name for name in ("source", "base", "run/model"))
    model.save_pretrained(source)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(random_model / name, source / name)
    build_model("m", ModelSpec(asset="mine", format="safetensors"), source, base)
    train(run_config(), base, data_path, final)
    assert json.loads((final / "config.json").read_text())["dtype"] == "float32"


def test_a_buffer_that_a_forward_pass_changes_is_refused(
    random_model: Path, data_path: Path
) -> None:
    def count(norm: Any, *_: Any) -> None:
        norm.n_calls += 1

    model = load_model(random_model, torch.float32)
    model.model.norm.register_buffer("n_calls", torch.zeros(1))
    model.model.norm.register_forward_hook(count)
    trainer = Trainer(run_config(), model, TokenizedData.load(data_path), 0)
    with pytest.raises(UserError, match=r"LlamaForCausalLM changes 'model\.norm\.n_calls' in its"):
        trainer.run()
    assert len(trainer.log) == 1


def test_reading_back_needs_next_to_no_memory(random_model: Path, tmp_path: Path) -> None:
    """Pages of the file are dropped once compared: a few MB at a time, not all 128.

    The kernel maps more pages around a read one than asked for, sometimes many: the least of up to
    four measurements counts.
    """
    config = AutoConfig.for_model("llama", **SIZES | {"vocab_size": 500_000})
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path / "big")

    def needed() -> int:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, tmp_path / "big", random_model, tmp_path / "out"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        return int(done.stdout)

    first = needed()
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert size > 120e6
    assert first < 0.4 * size or min(needed() for _ in range(3)) < 0.4 * size


def test_the_optimizer_is_gone_when_the_saved_model_is_read_back(
    random_model: Path, data_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a second model needs no more memory than training did."""
    steps: list[str] = []
    end, check = Trainer.final_weights, models._refuse_other_model

    def ended(self: Trainer) -> dict[str, torch.Tensor]:
        weights = end(self)
        steps.append(f"optimizer: {hasattr(self, 'optimizer')}")
        return weights

    def checked(*arguments: Any) -> None:
        check(*arguments)
        steps.append("checked")

    monkeypatch.setattr(Trainer, "final_weights", ended)
    monkeypatch.setattr(models, "_refuse_other_model", checked)
    train(run_config(), random_model, data_path, tmp_path / "run" / "model")
    assert steps == ["optimizer: False", "checked"]


@pytest.mark.parametrize("method", ["sft", "lora"])
def test_weights_that_load_as_others_are_refused(
    method: str,
    random_model: Path,
    data_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if Transformers' conversion were not reversible: two rows are swapped."""
    name = "model.layers.1.mlp.up_proj.weight"
    save = models.save_weights

    def swap(model: Any, folder: Path, weights: dict[str, torch.Tensor]) -> None:
        save(model, folder, weights)
        written = load_file(folder / "model.safetensors")
        written[name] = written[name].roll(1, 0)
        save_file(written, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(models, "save_weights", swap)
    out = tmp_path / "run" / "model"
    with pytest.raises(ModelError, match=rf"not load as it was saved \(tensor '{name}', 1 in"):
        train(run_config(method), random_model, data_path, out)
    assert list(out.parent.iterdir()) == []


def test_a_configuration_that_computes_otherwise_is_refused(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights give other logits."""
    save = models.save_weights

    def other_rope(model: Any, folder: Path, weights: dict[str, torch.Tensor]) -> None:
        save(model, folder, weights)
        config = json.loads((folder / "config.json").read_text())
        config["rope_parameters"]["rope_theta"] = 100.0
        (folder / "config.json").write_text(json.dumps(config))

    monkeypatch.setattr(models, "save_weights", other_rope)
    model = load_model(random_model, torch.float32)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    with pytest.raises(ModelError, match=r"does not load as it was saved \(its logits"):
        models.save_model(model, weights, random_model, tmp_path / "final")
    assert not (tmp_path / "final").exists()


@pytest.mark.parametrize("precision", ["fp32", "fp32_master", "bf16_pure"])
def test_a_head_of_its_own_is_trained_and_saved(
    precision: str, random_model: Path, data_path: Path, tmp_path: Path
) -> None:
    """config.json says tied: θ0, training and the saved model agree with plain Transformers."""
    source = Path(shutil.copytree(random_model, tmp_path / "source"))
    (source / "MODEL.json").unlink()
    weights = load_file(source / "model.safetensors")
    head = 0.2 * torch.randn(259, 64, generator=torch.Generator().manual_seed(5))
    weights |= {"lm_head.weight": head}
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    base, final = tmp_path / "base", tmp_path / "run" / "model"
    build_model("m", ModelSpec(asset="mine", format="safetensors"), source, base)
    train(run_config(rate=1e-3, precision=precision), base, data_path, final)
    assert json.loads((final / "config.json").read_text())["tie_word_embeddings"] is False
    after = load_file(final / "model.safetensors")
    moved = [(after[n].float() - weights[n]).abs().max() for n in sorted(weights)[:2]]
    assert sorted(weights)[:2] == ["lm_head.weight", "model.embed_tokens.weight"]
    assert all(step > 1e-4 for step in moved)
    for folder in (base, final):
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        with torch.inference_mode():
            expected = plain(torch.arange(1, 13)[None], use_cache=False).logits
        assert torch.equal(logits(folder), expected)
