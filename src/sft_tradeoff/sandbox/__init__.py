"""Run programs written by a model in isolation, or refuse to run them."""
