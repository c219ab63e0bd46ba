"""Measure what supervised fine-tuning costs in general ability, and choose how to fine-tune."""

__version__ = "0.1.0"
