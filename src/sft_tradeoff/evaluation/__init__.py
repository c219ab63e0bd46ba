"""Score a model on the general suite and on its domains, item by item."""
