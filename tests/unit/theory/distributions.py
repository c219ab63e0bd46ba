"""Random distributions for the tests of the theory."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

SIZE = 4  # tokens
weights = st.lists(st.floats(0.01, 1.0), min_size=SIZE, max_size=SIZE)
distribution = weights.map(lambda values: np.array(values) / sum(values))
step = st.floats(0.01, 0.99)
