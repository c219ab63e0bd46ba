"""What weight a method gives to the tokens of the answer, before anything is trained.

A method that weighs tokens by how likely they are may learn everything but the answer: where a
response is a hard label among easy tags, TALR's τ is small, and the label weighs its floor. Here
the methods' own formulas weigh the first batches of training in two states:

* ``theta0``: with the losses of θ0;
* ``form``: once the form of the responses has been learned, each token costing the less of its loss
  under θ0 and under counts of the responses alone (:mod:`sft_tradeoff.tokens.form`). Weights taken
  from θ0 once and for all (FLOW, STM, frozen TALR) stay what they are.

A weight counts relative to the mean weight of all tokens, since AdamW's steps do not depend on the
scale of a loss. ``kept`` is the mean weight of the answer's tokens over that of all tokens: the
share of the weight that standard SFT gives them. The gradient is judged by w·(1 − p), because 1 − p
is the derivative of a token's loss by its own logit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sft_tradeoff.analysis.answer_weights import LEAST, STATES
from sft_tradeoff.models.padding import length_batches
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.spec import MethodSpec
from sft_tradeoff.training.batching import Batch, batch_schedule, collate
from sft_tradeoff.training.global_batch import KnownLosses, join
from sft_tradeoff.training.reference import BATCH_TOKENS, median_sequence_nll
from sft_tradeoff.training.token_loss import TokenLoss, token_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sft_tradeoff.models.tokenized import TokenizedData

N_EXAMPLES = 64  # whose tokens are weighed; a pass of θ0 over them takes seconds
Row = dict[str, Any]


@dataclass(frozen=True)
class Losses:
    """What is known of each token before training; NaN where it is not.

    Args:
        nll: [ΣT] float32 nats under θ0.
        entropy: [ΣT] float32 nats, as ``TokenBatch.entropy_top20``; None if no method needs it.
        form: [ΣT] float32 nats under counts of the responses.
    """

    nll: np.ndarray
    entropy: np.ndarray | None
    form: np.ndarray

    def after_form(self) -> Losses:
        """Losses once the form is learned; a calibrated model's mean loss is its entropy."""
        nll = np.fmin(self.nll, self.form)
        entropy = None if self.entropy is None else np.fmin(self.entropy, nll)
        return Losses(nll, entropy, self.form)


def first_batches(data: TokenizedData, batch_size: int, seed: int) -> list[np.ndarray]:
    """Examples of training's first batches, about :data:`N_EXAMPLES` together."""
    return batch_schedule(data.lengths, batch_size, 1.0, seed)[: math.ceil(N_EXAMPLES / batch_size)]


def theta0_losses(
    model: PreTrainedModel, data: TokenizedData, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and top-20 entropy of some examples' response tokens under a model.

    Args:
        model: θ0, in the type in which training computes.
        data: Tokenized training split.
        rows: The examples.

    Returns:
        Twice [ΣT] float32 nats, NaN for all other tokens.
    """
    nll, entropy = (np.full(len(data.input_ids), np.nan, dtype=np.float32) for _ in range(2))
    for some in length_batches(data.lengths[rows], BATCH_TOKENS):
        batch = collate(data, rows[some], 0, pad_id=0)
        with torch.no_grad():
            found = token_loss(model, batch.to(model.device), top_entropy=True)
        assert found.entropy_top20 is not None, "asked for"
        nll[batch.token] = found.nll.cpu()
        entropy[batch.token] = found.entropy_top20.cpu()
    return nll, entropy


def weigh_answers(
    data: TokenizedData,
    batches: Sequence[np.ndarray],
    is_answer: np.ndarray,
    losses: Losses,
    methods: Sequence[MethodSpec],
) -> Iterator[Row]:
    """Weigh the first batches by every method that weighs tokens.

    Args:
        data: Tokenized training split.
        batches: Examples of each batch, as of :func:`first_batches`.
        is_answer: [ΣT] bool, the tokens that carry the answer.
        losses: Of the tokens of these batches.
        methods: With their options; those without token weights are left out.

    Yields:
        One row per method: the columns of :mod:`sft_tradeoff.analysis.answer_weights` without model
        and domain.
    """
    collated = [collate(data, rows, 0, pad_id=0) for rows in batches]
    answer = is_answer[torch.cat([batch.token for batch in collated]).numpy()]  # (N,)
    counts = {
        "n_examples": sum(map(len, batches)),
        "n_tokens": len(answer),
        "n_answer_tokens": int(answer.sum()),
        "answer_share": float(answer.mean()),
    }
    weigher = _Weigher(data, collated, answer, losses)
    for spec in methods:
        if METHODS[spec.name].weights is None:
            continue
        row = {"method": spec.name, "label": spec.label, **counts, **weigher.row(spec)}
        lowest = min(row[f"kept_{state}"] for state in STATES)
        remedies = weigher.remedies(spec) if lowest < LEAST else {}
        texts = (f"`{change}` ({kept:.0%})" for change, kept in remedies.items() if kept >= LEAST)
        yield row | {"remedies": ", ".join(texts)}


class _Weigher:
    """The tokens of some batches, in both states."""

    def __init__(
        self, data: TokenizedData, batches: list[Batch], answer: np.ndarray, losses: Losses
    ) -> None:
        self.batches, self.answer = batches, torch.from_numpy(answer)
        self.states = dict(zip(STATES, (losses, losses.after_form()), strict=True))
        known = dataclasses.replace(data, response_mask=data.response_mask & ~np.isnan(losses.nll))
        self.reference = torch.from_numpy(losses.nll)
        self.median = median_sequence_nll(known, losses.nll)

    def row(self, spec: MethodSpec) -> Row:
        """Numbers of one method in each state, with the state as the end of their names."""
        return {
            f"{name}_{state}": value
            for state, losses in self.states.items()
            for name, value in self._in_state(spec, losses).items()
        }

    def remedies(self, spec: MethodSpec) -> dict[str, float]:
        """The least ``kept`` of both states with each remedy of the method that applies."""
        found = {}
        for remedy in METHODS[spec.name].remedies:
            change = {k: v for k, v in remedy.items() if spec.options[k] != v}
            if change:
                other = MethodSpec(name=spec.name, options=spec.options | change)
                row = self.row(other)
                what = ", ".join(f"{key}: {value}" for key, value in change.items())
                found[what] = min(row[f"kept_{state}"] for state in STATES)
        return found

    def _in_state(self, spec: MethodSpec, losses: Losses) -> dict[str, float]:
        method = METHODS[spec.name]
        options = method.options(**spec.options)
        weights, taus = [], []
        nll = torch.from_numpy(losses.nll)
        known = KnownLosses(self.reference, self.median, old_nll=nll)
        for batch in self.batches:
            entropy = losses.entropy
            top = None if entropy is None else torch.from_numpy(entropy)[batch.token]
            tokens = join([batch], [TokenLoss(nll[batch.token], entropy_top20=top)], known)
            assert method.weights is not None, "left out by the caller"
            weights.append(method.weights(tokens, options))
            said = method.diagnostics(tokens, options) if method.diagnostics else {}
            taus.append(said.get("tau", math.nan))
        weight = torch.cat(weights)  # (N,)
        miss = 1 - (-nll[torch.cat([batch.token for batch in self.batches])]).exp()  # (N,)
        return {
            "kept": (weight[self.answer].mean() / weight.mean()).item(),
            "weight_share": self._share(weight),
            "gradient_share": self._share(weight * miss),
            "sft_gradient_share": self._share(miss),
            "starved": (weight[self.answer] < LEAST * weight.mean()).float().mean().item(),
            "tau": float(np.mean(taus)),
        }

    def _share(self, amount: torch.Tensor) -> float:
        """The answer's share of an amount [N]; NaN if there is none."""
        return (amount[self.answer].sum() / amount.sum()).item()
