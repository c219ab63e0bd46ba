"""Standard supervised fine-tuning: the mean negative log-likelihood of the response tokens."""

from __future__ import annotations

from sft_tradeoff.objectives.base import Method, Options


class SftOptions(Options):
    """Standard SFT has no hyperparameters beyond the optimizer's."""


METHOD = Method(
    name="sft",
    source="maximum likelihood on response tokens",
    options=SftOptions,
)
