"""Where epochs end."""

from __future__ import annotations

import pytest

from sft_tradeoff.training.epochs import epoch_ends


@pytest.mark.parametrize(
    ("n_examples", "batch_size", "n_steps", "expected"),
    [
        (8, 4, 6, {2: 1, 4: 2, 6: 3}),
        (9, 4, 6, {3: 1, 6: 2}),  # the last batch of an epoch is smaller
        (8, 4, 5, {2: 1, 4: 2, 5: 2.5}),  # 2.5 epochs
        (8, 4, 1, {1: 0.5}),  # less than one
    ],
)
def test_every_epoch_ends_once_and_the_end_of_training_counts(
    n_examples, batch_size, n_steps, expected
):
    assert epoch_ends(n_examples, batch_size, n_steps) == expected
