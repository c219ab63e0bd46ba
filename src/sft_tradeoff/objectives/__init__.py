"""Objectives: pure functions of per-token tensors, one small file per method.

These files use torch only through tensor methods, so that reading the registry stays cheap.
"""

from sft_tradeoff.objectives.talr import talr_weights

__all__ = ["talr_weights"]
