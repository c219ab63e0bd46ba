"""Train one run: the loop, its batches and losses, resume points, and merging."""
