"""The general suite: benchmarks of abilities that fine-tuning should keep."""
