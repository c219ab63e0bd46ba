"""Material from elsewhere: pinned, fetched once, checked, read."""
