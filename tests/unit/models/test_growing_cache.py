"""Free columns of a growing cache."""

import torch

from sft_tradeoff.models.growing_cache import SPARE, GrowingLayer


def test_rows_that_left_leave_no_memory_behind():
    """64 free columns are kept while rows stay, and dropped when rows leave."""
    layer = GrowingLayer()
    layer.update(torch.ones(4, 1, 5, 2), torch.ones(4, 1, 5, 2))
    assert layer._buffers[0].shape == (4, 1, 5 + SPARE, 2)
    layer.keys, layer.values = (t[:1].clone() for t in (layer.keys, layer.values))
    layer.drop_free_columns()
    keys, _ = layer.update(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))
    assert keys[0, 0, :, 0].tolist() == [1, 1, 1, 1, 1, 0]
    layer.reset()
    assert layer._buffers == [None, None]


def test_keys_are_kept_in_the_dtype_in_which_attention_computes():
    """Rotated keys are float32; attention in bfloat16 would round them at every step."""
    layer = GrowingLayer()
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            keys, _ = layer.update(torch.ones(1, 1, 5, 2), torch.ones(1, 1, 5, 2).bfloat16())
            assert keys.dtype == torch.bfloat16
    plain = GrowingLayer()
    assert plain.update(torch.ones(1, 1, 5, 2), torch.ones(1, 1, 5, 2))[0].dtype == torch.float32
