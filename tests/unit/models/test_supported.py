"""What a configuration says about a model before its weights are read."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from sft_tradeoff.models.folder import LONGEST_REASON, reason
from sft_tradeoff.models.supported import is_multimodal, window


@pytest.mark.parametrize(
    ("kind", "sizes", "tokens"),
    [
        ("llama", {"max_position_embeddings": 300}, 300),
        ("gpt2", {"n_positions": 300}, 300),
        ("gemma3", {"text_config": {"max_position_embeddings": 300}}, 300),
        ("falcon", {"alibi": True}, None),
        ("bloom", {}, None),
        ("mamba", {}, None),
        ("llama", {"max_position_embeddings": -1}, None),
    ],
)
def test_window(kind: str, sizes: dict[str, Any], tokens: int | None) -> None:
    """Distances (ALiBi) and recurrent states have no limit."""
    assert window(AutoConfig.for_model(kind, **sizes)) == tokens


def test_models_with_other_senses() -> None:
    assert is_multimodal(AutoConfig.for_model("llava"))
    assert not is_multimodal(AutoConfig.for_model("gpt2"))


def test_a_long_error_becomes_a_line() -> None:
    assert reason(ValueError("a\n  b")) == "ValueError: a b"
    long = reason(ValueError("x" * 10**6))
    assert len(long) == LONGEST_REASON + 4 and long.endswith("x ...")
