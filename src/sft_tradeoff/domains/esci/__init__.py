"""E-commerce: how well a product matches a query (ESCI)."""
