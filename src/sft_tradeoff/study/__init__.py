"""A study file: parsed, checked, and expanded into runs."""
