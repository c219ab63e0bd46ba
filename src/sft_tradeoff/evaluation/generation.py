"""Greedy decoding of many prompts: finished rows leave the batch and waiting prompts join it.

Rows are padded on the left, so that the newest token of every row is in the last column of the one
key-value cache that holds all rows.

Shapes: B rows, T new positions, W columns of the cache, H hidden size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import pad
from transformers import DynamicCache

from sft_tradeoff.models.growing_cache import empty_cache
from sft_tradeoff.models.head import head_logits
from sft_tradeoff.models.padding import length_batches, padded_width

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# A shared prefix is read in a separate pass if that saves at least this many tokens; a pass takes
# about as long as reading them.
WORTH_SHARING = 256


@dataclass
class Rows:
    """B rows being decoded.

    Args:
        prompt: Index of the prompt that each row answers.
        tokens: [B] int64, the newest token of each row; not in the cache yet.
        mask: [B, W] int64, 0 where the cache holds padding.
        cache: Keys and values [B, heads, W, head size] of every layer.
    """

    prompt: list[int]
    tokens: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache

    def keep(self, rows: list[int]) -> None:
        """Keep only these rows, and drop columns that are padding in all of them."""
        index = torch.tensor(rows, dtype=torch.long, device=self.mask.device)
        self.prompt = [self.prompt[row] for row in rows]
        self.tokens, self.mask = self.tokens[index], self.mask[index]
        first = int(self.mask.any(0).int().argmax()) if rows else 0
        self.mask = self.mask[:, first:]
        for layer in _layers(self.cache):
            layer.keys = layer.keys[:, :, first:].index_select(0, index)
            layer.values = layer.values[:, :, first:].index_select(0, index)
            layer.drop_free_columns()

    def repeat(self, n_rows: int) -> None:
        """Turn one row into several equal ones."""
        self.mask = self.mask.expand(n_rows, -1)
        for layer in _layers(self.cache):
            layer.keys = layer.keys.expand(n_rows, -1, -1, -1)
            layer.values = layer.values.expand(n_rows, -1, -1, -1)
            layer.drop_free_columns()


# Called with a batch and the hidden states [B, 1, H] of its last tokens.
Look = Callable[[Rows, torch.Tensor], object]


def _layers(cache: DynamicCache) -> list[Any]:
    return cache.layers  # Any: typed as a union of all kinds of layers; here all are DynamicLayer


def _join(model: PreTrainedModel, parts: list[Rows]) -> Rows:
    """Join batches into one, padded on the left to the widest."""
    if len(parts) == 1:
        return parts[0]
    pads = [max(p.mask.shape[1] for p in parts) - part.mask.shape[1] for part in parts]
    cache = empty_cache(model)
    for i in range(len(parts[0].cache.layers)):
        layers = [_layers(part.cache)[i] for part in parts]
        keys = [pad(layer.keys, (0, 0, n, 0)) for layer, n in zip(layers, pads, strict=True)]
        values = [pad(layer.values, (0, 0, n, 0)) for layer, n in zip(layers, pads, strict=True)]
        for layer in layers:
            layer.reset()  # frees memory: two copies of the whole cache would not fit
        cache.update(torch.cat(keys), torch.cat(values), i)
    return Rows(
        prompt=[row for part in parts for row in part.prompt],
        tokens=torch.cat([part.tokens for part in parts]),
        mask=torch.cat([pad(p.mask, (n, 0)) for p, n in zip(parts, pads, strict=True)]),
        cache=cache,
    )


@torch.inference_mode()
def greedy_decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    finished: Callable[[list[int]], bool],
    batch_size: int,
    batch_tokens: int,
    advance: Callable[[int], object] = lambda n_rows: None,
    look: Look | None = None,
) -> list[list[int]]:
    """Continue every prompt with the likeliest token until it is finished.

    Args:
        model: One that :func:`sft_tradeoff.models.cache.has_plain_cache` accepts.
        prompts: Token ids, none empty.
        finished: Whether these new tokens are a complete answer.
        batch_size: Rows decoded together.
        batch_tokens: Tokens per pass that reads prompts, padding included.
        advance: Called with the number of rows that have just finished.
        look: Called after each batch of prompts is read, before its answers are generated.

    Returns:
        The new tokens of every prompt, up to the first at which ``finished`` was true.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    waiting = deque(sorted(range(len(prompts)), key=lambda i: -len(prompts[i])))
    active: Rows | None = None
    while waiting or active:
        parts = []
        n_free = batch_size
        if active:
            n_free -= len(active.prompt)
            active.tokens = _extend(model, active.tokens[:, None], active)
            parts.append(active)
        # Joining copies the cache, so it is done only when half of the rows are free.
        if waiting and 2 * n_free >= batch_size:
            chosen = [waiting.popleft() for _ in range(min(n_free, len(waiting)))]
            lengths = np.array([padded_width(len(prompts[row])) for row in chosen])
            for batch in length_batches(lengths, batch_tokens):
                parts.append(_read(model, prompts, [chosen[i] for i in batch], look))
        active = _join(model, parts)
        for row, token in zip(active.prompt, active.tokens.tolist(), strict=True):
            answers[row].append(token)
        going = [i for i, row in enumerate(active.prompt) if not finished(answers[row])]
        if len(going) < len(active.prompt):
            advance(len(active.prompt) - len(going))
            active.keep(going)
        active = active if going else None
    return answers


def _n_shared(prompts: Sequence[Sequence[int]]) -> int:
    """Length of the prompts' shared prefix (template, worked examples); 0: not worth sharing."""
    lists = [list(prompt) for prompt in prompts]
    first, last = (
        min(lists),
        max(lists),
    )  # the others are sorted between them, so they share their prefix
    longest = min(map(len, prompts)) - 1  # leaves every prompt at least one token
    pairs = zip(first[:longest], last, strict=False)
    n_same = next((n for n, (a, b) in enumerate(pairs) if a != b), longest)
    return n_same if n_same * (len(prompts) - 1) >= WORTH_SHARING else 0


def _read(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], rows: list[int], look: Look | None
) -> Rows:
    """Read prompts into a new cache and predict the first token of each answer."""
    n_shared = _n_shared([prompts[row] for row in rows])
    rests = [prompts[row][n_shared:] for row in rows]
    width = padded_width(max(map(len, rests)))
    ids = torch.zeros(len(rows), width, dtype=torch.long)  # (B, W)
    mask = torch.zeros_like(ids)
    for i, rest in enumerate(rests):
        ids[i, width - len(rest) :] = torch.tensor(rest)
        mask[i, width - len(rest) :] = 1
    empty = mask[:, :0].to(model.device)
    batch = Rows(rows, ids[:, -1], empty, empty_cache(model))
    if n_shared:
        batch.mask = empty[:1]
        prefix = torch.tensor([prompts[rows[0]][:n_shared]], device=model.device)  # (1, n_shared)
        _states(model, prefix, batch)
        batch.repeat(len(rows))
    states = _states(model, ids.to(model.device), batch, mask.to(model.device))[:, -1:]
    batch.tokens = _likeliest(model, states)
    if look:
        look(batch, states)
    return batch


def forced_states(
    model: PreTrainedModel, rows: Rows, states: torch.Tensor, answers: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Hidden states that predict the tokens of given answers (teacher forcing).

    Args:
        model: As in :func:`greedy_decode`.
        rows: B prompts that have just been read; the same afterwards.
        states: [B, 1, H] of the prompts' last tokens.
        answers: One per prompt, none empty; N tokens in all.

    Returns:
        [N, H], one answer after the other.
    """
    longest, width = max(map(len, answers)), rows.mask.shape[1]
    ids = torch.zeros(len(answers), padded_width(longest - 1), dtype=torch.long)  # (B, T)
    mask = torch.zeros_like(ids)
    for i, answer in enumerate(answers):
        ids[i, : len(answer) - 1] = torch.tensor(answer[:-1])
        mask[i, : len(answer) - 1] = 1
    if longest > 1:
        found = _states(model, ids.to(model.device), rows, mask.to(model.device))
        states = torch.cat([states, found], dim=1)
        rows.mask = rows.mask[:, :width]
        for layer in _layers(rows.cache):
            layer.keys, layer.values = layer.keys[:, :, :width], layer.values[:, :, :width]
    return torch.cat([states[i, : len(answer)] for i, answer in enumerate(answers)])


def _extend(model: PreTrainedModel, ids: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Append ids [B, T] to the rows' cache and return the likeliest next tokens [B]."""
    return _likeliest(model, _states(model, ids, rows))


def _likeliest(model: PreTrainedModel, states: torch.Tensor) -> torch.Tensor:
    """The likeliest next tokens [B] after states [B, T, H]; the first in a tie."""
    return head_logits(model, states[:, -1]).max(-1).indices  # 4 times as fast as argmax on CPUs


def _states(
    model: PreTrainedModel, ids: torch.Tensor, rows: Rows, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Append ids [B, T] to the rows' cache and return their last hidden states [B, T, H]."""
    rows.mask = torch.cat([rows.mask, torch.ones_like(ids) if mask is None else mask], dim=1)
    positions = (rows.mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]  # (B, T)
    states: torch.Tensor = model.base_model(
        input_ids=ids,
        attention_mask=rows.mask,
        position_ids=positions,
        past_key_values=rows.cache,
        use_cache=True,
    ).last_hidden_state
    return states
