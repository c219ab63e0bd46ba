"""Train one run: the loop, what its batches and losses are made of, and how it resumes."""
