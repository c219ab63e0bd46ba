"""Objectives: pure functions of per-token tensors, one small file per method.

No file imports torch at module level, so that importing the registry stays fast.
"""

from sft_tradeoff.objectives.dft import dft_weights
from sft_tradeoff.objectives.eaft import eaft_weights
from sft_tradeoff.objectives.flow import flow_weights
from sft_tradeoff.objectives.kl_reg import kl_divergence
from sft_tradeoff.objectives.l2_reg import l2_penalty
from sft_tradeoff.objectives.psft import psft_weights
from sft_tradeoff.objectives.stm import stm_weights
from sft_tradeoff.objectives.talr import talr_weights
from sft_tradeoff.objectives.token_subset import subset_weights
from sft_tradeoff.objectives.wise_ft import interpolate

__all__ = [
    "dft_weights",
    "eaft_weights",
    "flow_weights",
    "interpolate",
    "kl_divergence",
    "l2_penalty",
    "psft_weights",
    "stm_weights",
    "subset_weights",
    "talr_weights",
]
