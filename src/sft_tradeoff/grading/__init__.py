"""Reading and comparing answers: what domains and benchmarks share."""
