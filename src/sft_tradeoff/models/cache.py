"""Which models have a key-value cache whose rows can be copied and reordered."""

from __future__ import annotations

import inspect

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

BLOCKED_ATTENTION = "sdpa_blocks"  # name under which training registers its own attention


def has_plain_cache(model: PreTrainedModel) -> bool:
    """Whether the cache holds keys and values of all tokens, one row per sequence.

    Not so with sliding windows, recurrent states, ALiBi, attention kernels without arbitrary masks,
    and layers that count columns instead of positions (GPT-Neo's local layers).
    """
    layers = DynamicCache(config=model.config).layers
    takes = inspect.signature(model.base_model.forward).parameters.keys()
    return (
        all(type(layer) is DynamicLayer for layer in layers)
        and takes >= {"position_ids", "past_key_values"}
        and "local" not in getattr(model.config, "attention_layers", ())
        and not getattr(model.config, "alibi", False)
        and model.config._attn_implementation in ("sdpa", "eager", BLOCKED_ATTENTION)
    )
