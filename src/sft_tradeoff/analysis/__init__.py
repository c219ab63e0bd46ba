"""What the results say: pure statistics and checks, apart from any plotting."""
