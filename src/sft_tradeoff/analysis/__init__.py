"""From per-item scores to tables, tolerances and a recommendation."""
