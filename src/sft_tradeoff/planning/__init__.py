"""Before a study runs: what it would cost, and a study for the user's own data and model."""
