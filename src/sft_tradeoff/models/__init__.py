"""Pretrained models: build a folder, load and save it; tokenizers, adapters, heads and caches."""
