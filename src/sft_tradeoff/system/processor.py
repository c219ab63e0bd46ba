"""What this machine's processor is slow at."""

from __future__ import annotations

import functools
import logging

logger = logging.getLogger(__name__)


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether products of bfloat16 matrices are as fast here as those of float32 matrices.

    On a GPU they are. On a CPU they need instructions that many laptops and desktops lack (AVX-512,
    or bfloat16 on Arm). PyTorch then takes 10 to 40 times as long as in float32.
    """
    import torch

    if torch.cuda.is_available():
        return True
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported())


def type_here(dtype: str) -> str:
    """The type in which this machine computes what a study wants computed in ``dtype``.

    Args:
        dtype: ``bfloat16`` or ``float32``.

    Returns:
        ``float32`` instead of ``bfloat16`` where its products are slow.
    """
    if dtype != "bfloat16" or multiplies_bfloat16():
        return dtype
    _say_once()
    return "float32"


@functools.cache
def _say_once() -> None:
    logger.info("this processor multiplies bfloat16 matrices slowly: computing in float32")
