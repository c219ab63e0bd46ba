"""The lm-eval model class: stock HFLM, but logits exist only where a continuation is scored.

Stock HFLM builds float32 logits for every position of every request, which is most of its time and
memory on models with a large vocabulary. Batches here are filled by tokens, not by requests.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from sft_tradeoff.batching import collate, length_batches
from sft_tradeoff.models import load_model, load_tokenizer
from sft_tradeoff.token_loss import CHUNK, head_logits, supervised_hidden
from sft_tradeoff.tokenization import TokenizedData, TokenizedExample

if TYPE_CHECKING:
    from sft_tradeoff.specs import EvaluationSpec

Scored = list[tuple[Any, list[int], list[int]]]  # (request, context ids, continuation ids)


class HeadOnlyLM(HFLM):
    """Causal LM whose log-likelihoods cost no logits outside the continuation.

    Args:
        batch_tokens: Padded tokens per forward pass.
        keywords: Those of :class:`lm_eval.models.huggingface.HFLM`.
    """

    def __init__(self, *, batch_tokens: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.batch_tokens = batch_tokens

    def score_data(self, data: TokenizedData, quiet: bool = True) -> tuple[list[float], list[bool]]:
        """Score the masked tokens of every example.

        Args:
            data: n examples; the mask says which tokens are scored.
            quiet: No progress bar.

        Returns:
            Σ log-likelihood in nats [n], and whether greedy decoding would give the same tokens.
        """
        total, greedy = [0.0] * len(data), [True] * len(data)
        batches = list(length_batches(data.lengths, self.batch_tokens))
        for rows in tqdm(batches, desc="log-likelihood", disable=quiet or None):
            batch = collate(data, rows, 0, pad_id=0).to(self.device)
            with torch.inference_mode():
                hidden = supervised_hidden(self.model, batch)  # (N, H)
                nll, hit = self._score_hidden(hidden, batch.labels)
            sums = torch.zeros(len(rows), dtype=torch.double)
            sums.index_add_(0, batch.sequence.cpu(), nll)
            misses = batch.sequence[~hit].cpu().bincount(minlength=len(rows))
            for row, nats, n_missed in zip(rows, sums.tolist(), misses.tolist(), strict=True):
                total[row], greedy[row] = -nats, n_missed == 0
        return total, greedy

    def _score_hidden(
        self, hidden: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[N, H], [N] → nll [N] float64 on the CPU, and whether argmax is the label [N]."""
        nll, hit = [], []
        for h, label in zip(hidden.split(CHUNK), labels.split(CHUNK), strict=True):
            logits = head_logits(self.model, h)  # (CHUNK, V) float32
            loss = torch.nn.functional.cross_entropy(logits, label, reduction="none")
            nll.append(loss.double().cpu())
            hit.append(logits.argmax(-1) == label)
        return torch.cat(nll), torch.cat(hit)

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """As stock, without a progress bar in log files."""
        return super().loglikelihood(requests, disable_tqdm or not sys.stderr.isatty())

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """As stock, without a progress bar in log files."""
        return super().loglikelihood_rolling(requests, disable_tqdm or not sys.stderr.isatty())

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """As stock, without a progress bar in log files."""
        return super().generate_until(requests, disable_tqdm or not sys.stderr.isatty())

    def _loglikelihood_tokens(
        self, requests: Scored, disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """lm-eval's hook: (Σ log-likelihood, is greedy) of every continuation."""
        examples = []
        for _, context, continuation in requests:
            # As stock: the window ends with the continuation and may cut the context's start.
            ids = (context + continuation)[-(self.max_length + 1) :]
            n_scored = min(len(continuation), len(ids) - 1)
            mask = [False] * (len(ids) - n_scored) + [True] * n_scored
            examples.append(TokenizedExample("", ids, mask, truncated=False))
        total, greedy = self.score_data(TokenizedData.from_examples(examples), disable_tqdm)
        return list(zip(total, greedy, strict=True))


def load_lm(folder: Path, spec: EvaluationSpec) -> HeadOnlyLM:
    """Load a checkpoint for lm-eval."""
    return HeadOnlyLM(
        pretrained=load_model(folder, getattr(torch, spec.dtype)).eval(),
        tokenizer=load_tokenizer(folder),
        backend="causal",
        batch_size=spec.batch_size,
        batch_tokens=spec.batch_tokens,
        max_length=spec.max_length,
    )
