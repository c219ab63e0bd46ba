"""Claims as data, and verdicts on them from the runs of a study."""
