"""Pretrained models: built into one folder, loaded, saved, and what their parts can do."""
