"""Run programs that a model wrote, shut in, or refuse to run them."""
