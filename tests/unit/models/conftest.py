"""A model folder that tests may change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sft_tradeoff.models.spec import ModelSpec

SAFETENSORS = ModelSpec(asset="mine", format="safetensors")
RANDOM = ModelSpec(format="random")
# Of a tiny model, as the configurations of most architectures call them.
SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


@pytest.fixture
def copied(random_model: Path, tmp_path: Path) -> Path:
    """A model folder that a test may change."""
    ours = shutil.ignore_patterns("*MODEL.json*")
    return Path(shutil.copytree(random_model, tmp_path / "source", ignore=ours))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
