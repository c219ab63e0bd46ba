"""Fewer resamples than in use: the verdicts tested here are clear, and there are many of them."""

from __future__ import annotations

from functools import partial

import pytest

from sft_tradeoff.analysis.claims import statistic
from sft_tradeoff.stats.bootstrap import resampled_ratios


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    few = partial(resampled_ratios, n_resamples=300)
    monkeypatch.setattr(statistic, "resampled_ratios", few)
