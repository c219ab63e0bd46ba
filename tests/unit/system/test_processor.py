"""Where bfloat16 products are slow, float32 stands in."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from sft_tradeoff.system import processor
from sft_tradeoff.system.processor import type_here

# A process of its own: these tests are told that every processor is fast.
TIMED = """
import time, torch
from sft_tradeoff.system.processor import multiplies_bfloat16
def seconds(dtype):
    x, w = torch.ones(256, 576, dtype=dtype), torch.ones(576, 1536, dtype=dtype)
    found = []
    for _ in range(5):
        started = time.perf_counter()
        x @ w
        found.append(time.perf_counter() - started)
    return min(found)
print(multiplies_bfloat16(), seconds(torch.bfloat16) / seconds(torch.float32))
"""


def test_what_is_called_fast_is_fast() -> None:
    """Slow products take 10 to 40 times as long as in float32, emulated ones up to 3 times."""
    told = subprocess.run([sys.executable, "-c", TIMED], text=True, capture_output=True, check=True)
    fast, ratio = told.stdout.split()
    assert (fast == "True") == (float(ratio) < 5)


def test_bfloat16_where_it_is_fast() -> None:
    assert [type_here(dtype) for dtype in ("bfloat16", "float32")] == ["bfloat16", "float32"]


def test_float32_elsewhere_and_said_once(
    slow_bfloat16: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor._say_once.cache_clear()
    with caplog.at_level(logging.INFO):
        assert {type_here("bfloat16") for _ in range(2)} == {"float32"}
        assert type_here("float32") == "float32"
    (message,) = caplog.messages
    assert message.endswith("computing in float32")
