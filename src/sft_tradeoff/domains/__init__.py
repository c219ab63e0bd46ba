"""Fine-tuning domains: examples to train on, and how answers are graded."""
