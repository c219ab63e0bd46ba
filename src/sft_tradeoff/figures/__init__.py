"""Figures, one module each: a table in; PDF, PNG and the drawn numbers as CSV out."""
