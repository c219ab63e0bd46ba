"""A domain's examples as a model's tokens: what is learned is what is generated and graded."""
