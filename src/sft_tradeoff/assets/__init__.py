"""Models and data from elsewhere: pinned, fetched once, verified and read."""
