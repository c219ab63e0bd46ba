"""From per-item scores to tables, verdicts on tolerances, and a recommendation."""
