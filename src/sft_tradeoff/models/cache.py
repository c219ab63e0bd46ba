"""Which models have a key-value cache that can be rearranged."""

from __future__ import annotations

import inspect

from transformers import (
    DynamicCache,
    PreTrainedModel,
)
from transformers.cache_utils import DynamicLayer

NAME = "sdpa_blocks"


def has_plain_cache(model: PreTrainedModel) -> bool:
    """Whether keys and values of all tokens stay, one row per sequence, and can be rearranged.

    Sliding windows, recurrent states, ALiBi, attention kernels without a free mask and those that
    count columns instead of positions (GPT-Neo's local layers) cannot.
    """
    layers = DynamicCache(config=model.config).layers
    takes = inspect.signature(model.base_model.forward).parameters.keys()
    return (
        all(type(layer) is DynamicLayer for layer in layers)
        and takes >= {"position_ids", "past_key_values"}
        and "local" not in getattr(model.config, "attention_layers", ())
        and not getattr(model.config, "alibi", False)
        and model.config._attn_implementation in ("sdpa", "eager", NAME)
    )
