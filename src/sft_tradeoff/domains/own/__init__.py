"""The user's own data, from one JSONL file."""
