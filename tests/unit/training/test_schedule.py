"""Learning rates of a schedule, by hand."""

import math

import pytest

from sft_tradeoff.training.schedule import learning_rate_at
from tests.unit.training.test_loop import run_config


def test_learning_rate_schedule_by_hand():
    """10 steps, warm-up 2: 1/2, 1, then cosine from 1 at step 2 to (1 + cos(7π/8))/2 at step 9."""
    config = run_config(learning_rate=1.0 - 1e-9, warmup_ratio=0.2)
    rates = [learning_rate_at(step, 10, config) for step in range(10)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx((1 + math.cos(7 * math.pi / 8)) / 2)
