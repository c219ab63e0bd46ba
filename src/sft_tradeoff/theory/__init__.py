"""The paper's theory, exact on small distributions; no other wing is known here."""
