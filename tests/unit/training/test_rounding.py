"""What rounding to bfloat16 leaves of an update."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.rounding import initial_tensors, rounding_facts
from sft_tradeoff.training.train import train
from tests.unit.training.runs import run_config

UP, DOWN = 2**-7, 2**-8  # spacing of bfloat16 numbers above and below 1


def folder(path: Path, **tensors: torch.Tensor) -> Path:
    path.mkdir()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return path


def test_facts_by_hand(tmp_path: Path) -> None:
    """Updates u = (0.25, 0.75, 1, 0) spacings become r = (0, 1, 1, 0): two of four weights change.

    ‖r‖ / ‖u‖ = √(2 / 1.625); ⟨r, u⟩ / ‖u‖² = 1.75 / 1.625; the vector u counts like the matrix.
    """
    start = folder(tmp_path / "a", w=torch.ones(1, 2), v=torch.ones(2))
    end = torch.tensor([[1 + 0.25 * UP, 1 + 0.75 * UP]]), torch.tensor([1 + UP, 1.0])
    facts = rounding_facts(start, folder(tmp_path / "b", w=end[0], v=end[1]))
    assert facts["norm_ratio"] == pytest.approx(math.sqrt(2 / 1.625))
    assert facts["projection"] == pytest.approx(1.75 / 1.625)
    assert facts["changed_share"] == 0.5
    assert facts["evaluated_projection"] == pytest.approx(1)


def test_a_tie_multiplies_the_smallest_update(tmp_path: Path) -> None:
    """Half-way between 1 - 2⁻⁸ and 1, 2⁻²⁰ more gives 1: half a spacing, 2⁻⁹ / 2⁻²⁰ = 2¹¹ times.

    So θ0 should not have more bits than bfloat16: two parts, with 16 bits, miss this update.
    """
    start = folder(tmp_path / "a", w=torch.tensor([[1 - DOWN / 2 - 2**-21]]))
    end = folder(tmp_path / "b", w=torch.tensor([[1 - DOWN / 2 + 2**-21]]))
    facts = rounding_facts(start, end)
    assert facts["norm_ratio"] == facts["projection"] == DOWN / 2**-20
    assert facts["evaluated_projection"] == 0


@pytest.mark.parametrize("size", [1e-7, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_evaluation_sees_the_update_of_a_released_model(
    size: float, kind: torch.dtype, tmp_path: Path
) -> None:
    """In bfloat16 at any size; in float16, which has more bits, from 1e-6 on.

    Rounded, the smallest vanish if θ0 is bfloat16, and are multiplied if it is float16, of which
    one number in eight is half-way between two of bfloat16.
    """
    generator = torch.Generator().manual_seed(0)
    start = (0.05 * torch.randn(300, 500, generator=generator)).to(kind)
    end = start.float() + size * torch.randn(300, 500, generator=generator)
    facts = rounding_facts(folder(tmp_path / "a", w=start), folder(tmp_path / "b", w=end))
    assert facts["evaluated_projection"] is not None and facts["projection"] is not None
    if kind == torch.bfloat16 or size >= 1e-6:
        assert 0.95 < facts["evaluated_projection"] < 1.05
    if size <= 1e-6:
        assert facts["projection"] < 0.5 if kind == torch.bfloat16 else facts["projection"] > 5


def test_no_update_has_no_ratio(tmp_path: Path) -> None:
    start = folder(tmp_path / "a", w=torch.ones(2, 2), n=torch.ones(2, dtype=torch.int64))
    found = rounding_facts(start, start)
    ratios = {"norm_ratio": None, "projection": None, "evaluated_projection": None}
    assert found == {"changed_share": 0.0, **ratios}


def test_tensors_of_other_names_are_found(tmp_path: Path) -> None:
    """GPT-2's on the hub lack ``transformer.``; nothing stays beside the trained model."""
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=32, n_layer=1, n_head=2))
    model.save_pretrained(tmp_path / "trained")
    bare = {n.removeprefix("transformer."): t for n, t in model.transformer.state_dict().items()}
    hub = folder(tmp_path / "hub", **{n: t.contiguous() for n, t in bare.items()})
    model.config.save_pretrained(hub)
    with initial_tensors(hub, tmp_path / "trained") as found:
        wanted = model.transformer.wte.weight.detach()
        assert torch.equal(
            found["transformer.wte.weight"].get_tensor("transformer.wte.weight"), wanted
        )
    assert rounding_facts(hub, tmp_path / "trained")["changed_share"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub", "trained"]


@pytest.mark.parametrize(
    ("method", "precision"), [("sft", "fp32_master"), ("sft", "bf16_pure"), ("lora", "fp32_master")]
)
def test_every_run_records_them(
    method: str, precision: str, random_model: Path, jsonl: Any, examples: Any, tmp_path: Path
) -> None:
    data = tmp_path / "train.npz"
    tokenize_file(byte_tokenizer(), jsonl(examples[:4]), 200).save(data)
    config = run_config(
        method, rate=1e-4, epochs=1, batch_size=4, micro_batch_size=4, precision=precision
    )
    train(config, random_model, data, tmp_path / "run/model")
    info = json.loads((tmp_path / "run/train.json").read_text())["train_info"]
    assert info["rounding"] == rounding_facts(random_model, tmp_path / "run/model")
    assert 0 < info["rounding"]["changed_share"] <= 1
