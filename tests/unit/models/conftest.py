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


@pytest.fixture
def copied(random_model: Path, tmp_path: Path) -> Path:
    """A model folder that a test may change."""
    ours = shutil.ignore_patterns("*MODEL.json*")
    return Path(shutil.copytree(random_model, tmp_path / "source", ignore=ours))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
