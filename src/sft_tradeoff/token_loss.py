"""Per-token loss of the supervised positions, without logits anywhere else.

A vocabulary of 50-260 thousand makes logits the largest tensors of training by far. They are made
only where a label is, a chunk at a time, and again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from sft_tradeoff.attention import NAME, has_plain_cache
from sft_tradeoff.batching import Batch, row_length
from sft_tradeoff.console import UserError
from sft_tradeoff.objectives.eaft import TOP

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 512  # supervised tokens whose [CHUNK, V] float32 logits exist at one time
Penalty = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class TokenLoss:
    """Loss of the N supervised tokens of a micro-batch.

    Args:
        nll: [N] float32 nats, differentiable.
        penalty: [N] float32, differentiable, if one was asked for.
        entropy_top20: [N] float32 nats of the 20 likeliest tokens, renormalised; detached.
    """

    nll: torch.Tensor
    penalty: torch.Tensor | None = None
    entropy_top20: torch.Tensor | None = None

    def detach(self) -> TokenLoss:
        """Return the values alone."""
        penalty = None if self.penalty is None else self.penalty.detach()
        return TokenLoss(self.nll.detach(), penalty, self.entropy_top20)


def token_loss(
    model: PreTrainedModel,
    batch: Batch,
    *,
    top_entropy: bool = False,
    penalty: Penalty | None = None,
    reference: PreTrainedModel | None = None,
) -> TokenLoss:
    """Loss of every supervised token of a micro-batch, and what else comes from its logits.

    Args:
        model: A causal language model.
        batch: B sequences with N supervised tokens.
        top_entropy: Also compute ``entropy_top20``.
        penalty: From log-probabilities [n, V] of ``model`` and ``reference`` to [n].
        reference: θ0, run without gradient; needed by ``penalty``.
    """
    hidden = supervised_hidden(model, batch)  # (N, H)
    known = hidden
    if reference is not None:
        with torch.no_grad():
            known = supervised_hidden(reference, batch)  # (N, H)

    def chunk_loss(
        h: torch.Tensor, h0: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        found = head_logits(model, h).log_softmax(-1)  # (n, V)
        nll = torch.nn.functional.nll_loss(found, labels, reduction="none")  # (n,)
        extra = None
        if penalty is not None and reference is not None:
            with torch.no_grad():
                wanted = head_logits(reference, h0).log_softmax(-1)  # (n, V)
            extra = penalty(found, wanted)
        # Last, because the recomputation ends where the last differentiable value is there.
        return nll, extra, _top_entropy(found) if top_entropy else None

    chunks = zip(*(t.split(CHUNK) for t in (hidden, known, batch.labels)), strict=True)
    parts = [checkpoint(chunk_loss, *chunk, use_reentrant=False) for chunk in chunks]
    nll, extra, entropy = zip(*parts, strict=True)
    return TokenLoss(
        torch.cat(nll),
        None if extra[0] is None else torch.cat(extra),
        None if entropy[0] is None else torch.cat(entropy),
    )


def token_nll(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood [N] float32 nats of every supervised token, differentiable."""
    return token_loss(model, batch).nll


def supervised_hidden(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Last hidden states at the positions that predict a label: [N, H]."""
    inputs = shared_inputs(batch) if len(batch.beginning) else {"input_ids": batch.input_ids}
    states = model.base_model(**inputs, use_cache=False).last_hidden_state
    return states.flatten(0, 1)[batch.positions]  # (B, T, H) or (1, P + B·T, H) -> (N, H)


def shared_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """A batch with a beginning that is read once, as inputs of a model: one row.

    The mask only tells ``attention.py`` how the row is cut; any other attention refuses integers.
    """
    n_shared, (n_rows, width) = len(batch.beginning), batch.input_ids.shape
    ids = torch.cat((batch.beginning, batch.input_ids.flatten()))  # (P + B·T)
    place = torch.arange(n_shared + width, device=ids.device)
    depth = torch.cat((place[:n_shared], place[n_shared:].repeat(n_rows)))
    tail = (0, row_length(n_shared, n_rows, width) - len(ids))
    return {
        "input_ids": torch.nn.functional.pad(ids, tail)[None],
        "position_ids": torch.nn.functional.pad(depth, tail)[None],
        "attention_mask": torch.tensor([[[[n_shared, n_rows, width]]]]),
    }


def head_logits(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Float32 logits [N, V] of hidden states [N, H]."""
    return float_logits(model, model.get_output_embeddings()(hidden))


def float_logits(model: PreTrainedModel, logits: torch.Tensor) -> torch.Tensor:
    """The head's output [N, V] in float32, with the model's own soft cap, if any."""
    logits = logits.float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def check_head(model: PreTrainedModel) -> None:
    """Prove on two tokens that body and head alone give the model's own logits.

    Some architectures scale or shift logits in a step of their own; their losses would be wrong.

    Raises:
        UserError: If they do not.
    """
    ids = torch.tensor([[1, 0]], device=model.device)
    with torch.inference_mode():
        own = model(input_ids=ids, use_cache=False).logits.float()
        try:
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            same = torch.allclose(own, head_logits(model, hidden), rtol=1e-2, atol=1e-2)
        except (AttributeError, RuntimeError):  # not a body and a head that fit together
            same = False
    if not same:
        raise UserError(
            f"{type(model).__name__} changes its logits after the head, or has other parts than "
            "body and head, which head_logits in token_loss.py does not know; use another model, "
            "or add the step there"
        )


def check_causal(model: PreTrainedModel) -> None:
    """Prove on a few tokens that what follows them, and chance, change nothing.

    Training fills rows on the right, without a mask. A model that looks ahead would copy its labels
    from there; one that draws its experts while it trains would not compute what is evaluated.

    Args:
        model: In float32.

    Raises:
        UserError: If something does.
    """
    ids = torch.arange(16, device=model.device)[None]
    ids %= model.config.get_text_config().vocab_size
    with torch.inference_mode():
        alone, followed = (
            model.base_model(input_ids=i, use_cache=False).last_hidden_state[:, :8]
            for i in (ids[:, :8], ids)
        )
    if not (followed - alone).norm() <= 1e-4 * alone.norm():
        raise UserError(
            f"{type(model).__name__} reads a token otherwise when others follow it, or draws at "
            "random: it is not a causal language model (is_causal, is_decoder or "
            "use_bidirectional_attention in its config.json), or cannot be trained here; use "
            "another model"
        )


def can_share_beginnings(model: PreTrainedModel) -> bool:
    """Whether a batch's common beginning may be read once, tried on two rows of a few tokens.

    Only by models whose tokens meet in plain attention, and in that of ``attention.py``.
    """
    if model.config._attn_implementation != NAME or not has_plain_cache(model):
        return False
    first, rows = torch.arange(1, 9), torch.arange(9, 15).view(2, 3)  # tokens
    labels = {name: rows.flatten() for name in ("labels", "sequence", "token")}
    places = torch.arange(8, 14)  # of the rows' tokens in a row of all
    once = Batch(beginning=first, input_ids=rows, positions=places, **labels)
    whole = torch.cat((first.expand(2, -1), rows), dim=1)  # (2, 11)
    places = torch.cat((places[:3], places[:3] + whole.shape[1]))
    twice = Batch(beginning=first[:0], input_ids=whole, positions=places, **labels)
    with torch.inference_mode():
        try:
            found, expected = supervised_hidden(model, once), supervised_hidden(model, twice)
        except (ValueError, TypeError, RuntimeError, IndexError):
            return False  # an option of its attention, or a mask that it looks into
    return bool((found - expected).norm() <= 1e-2 * expected.norm())


def _top_entropy(log_probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy of the likeliest tokens, renormalised: [n, V] → [n] nats."""
    with torch.no_grad():
        top = log_probabilities.topk(min(TOP, log_probabilities.shape[-1])).values  # (n, 20)
        top = top.log_softmax(-1)
        return -(top.exp() * top).sum(-1)
