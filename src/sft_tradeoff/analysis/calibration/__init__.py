"""How often intervals cover a known truth, verdicts are wrong, and studies see what they should."""
