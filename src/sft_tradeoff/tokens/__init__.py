"""The examples of a domain, tokenized for a model and checked by a round trip."""
