"""A key-value cache that grows in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SPARE = 64  # free columns that a full cache is extended by


class GrowingLayer(DynamicLayer):
    """Keys and values with free columns: a step writes one, while stock copies the whole cache."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Start empty, in the dtype in which attention computes."""
        super().lazy_initialization(key_states, value_states)
        kind, device = key_states.dtype, key_states.device.type
        if torch.is_autocast_enabled(device):  # rotated keys are float32, but used in bfloat16
            kind = torch.get_autocast_dtype(device)
        self.keys, self.values = (t[:, :, :0].to(kind) for t in (key_states, value_states))
        self.drop_free_columns()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **keywords: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values [B, heads, T, head size], as stock."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        new = (key_states, value_states)
        self.keys, self.values = (self._append(i, states) for i, states in enumerate(new))
        return self.keys, self.values

    def drop_free_columns(self) -> None:
        """Drop the free columns, after keys and values were replaced by other tensors."""
        self._buffers = [self.keys, self.values]

    def reset(self) -> None:
        """Free everything."""
        super().reset()
        self.drop_free_columns()

    def _append(self, which: int, states: torch.Tensor) -> torch.Tensor:
        held, buffer = (self.keys, self.values)[which], self._buffers[which]
        assert held is not None and buffer is not None
        start, end = held.shape[2], held.shape[2] + states.shape[2]
        # After rows left or joined, keys and values are no longer views of the buffer.
        if held.data_ptr() != buffer.data_ptr() or end > buffer.shape[2]:
            buffer = held.new_empty(*states.shape[:2], end + SPARE, states.shape[3])
            buffer[:, :, :start] = held
            self._buffers[which] = buffer
        buffer[:, :, start:end] = states
        return buffer[:, :, :end]


def empty_cache(model: PreTrainedModel) -> DynamicCache:
    """Return an empty cache of growing layers, for a model with a plain cache."""
    cache = DynamicCache(config=model.config)
    cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache
