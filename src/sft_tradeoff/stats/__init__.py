"""Estimates, resampling and tests; no other wing is known here."""
