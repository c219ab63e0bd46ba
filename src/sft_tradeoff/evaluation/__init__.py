"""Score a checkpoint on the general suite and on its domain, item by item."""
