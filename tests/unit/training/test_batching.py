"""Batches: every example once per epoch, of similar length, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.models.padding import length_batches
from sft_tradeoff.models.tokenized import TokenizedData, TokenizedExample
from sft_tradeoff.training.batching import batch_schedule, collate, shared_prefix_length


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=80),
    st.integers(1, 9),
    st.integers(0, 3),
)
def test_each_epoch_visits_every_example_once(lengths, batch_size, seed):
    lengths = np.array(lengths)
    n_batches = -(-len(lengths) // batch_size)
    schedule = batch_schedule(lengths, batch_size, 2, seed)
    assert len(schedule) == 2 * n_batches
    for epoch in (schedule[:n_batches], schedule[n_batches:]):
        assert sorted(np.concatenate(epoch)) == list(range(len(lengths)))
        assert max(map(len, epoch)) <= batch_size


def test_schedule_depends_on_seed_and_epoch_only():
    lengths = np.arange(1, 41)
    first, again, other = (batch_schedule(lengths, 4, 2, seed) for seed in (1, 1, 2))
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))
    assert not all(map(np.array_equal, first[:10], first[10:]))


def test_fractional_epochs_stop_part_way():
    assert len(batch_schedule(np.ones(40, int), 4, 0.5, 0)) == 5
    assert len(batch_schedule(np.ones(40, int), 4, 0.001, 0)) == 1


def test_batches_waste_little_padding():
    """Random batches of 8 from lengths 1..256 pad by about 75 %; grouped ones by a few percent."""
    lengths = np.random.default_rng(0).integers(1, 257, size=256)
    padded = sum(lengths[b].max() * len(b) for b in batch_schedule(lengths, 8, 1, 0))
    assert padded / lengths.sum() < 1.15


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 1000))
def test_length_batches_respect_the_budget(lengths, budget):
    lengths = np.array(lengths)
    batches = list(length_batches(lengths, budget))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= budget


def test_collate_by_hand():
    """Two sequences [5 6 | 7 8] and [9 | 4]: labels 7, 8, 4, predicted from the position before.

    Rows are padded with 3 to a multiple of eight.
    """
    data = TokenizedData.from_examples(
        [
            TokenizedExample("a", [5, 6, 7, 8], [False, False, True, True], False),
            TokenizedExample("b", [9, 4], [False, True], False),
        ]
    )
    batch = collate(data, np.array([1, 0]), first_sequence=10, pad_id=3)
    assert batch.input_ids.tolist() == [[9, 4] + 6 * [3], [5, 6, 7, 8] + 4 * [3]]
    assert batch.labels.tolist() == [4, 7, 8]
    assert batch.positions.tolist() == [0, 8 + 1, 8 + 2]
    assert batch.sequence.tolist() == [10, 11, 11]
    assert data.input_ids[batch.token].tolist() == [4, 7, 8]


def examples_of(*examples):
    """Data of (tokens, index of the first supervised one)."""
    return TokenizedData.from_examples(
        [
            TokenizedExample(str(i), ids, [place >= first for place in range(len(ids))], False)
            for i, (ids, first) in enumerate(examples)
        ]
    )


def test_collate_stores_a_shared_prefix_once():
    """Fifty shared tokens: 48 are stored once, the others stay with their rows."""
    common = [*range(20, 70)]
    data = examples_of(([*common, 5, 6, 7], 51), ([*common, 8, 9], 51))
    batch = collate(data, np.array([1, 0]), 0, 3, share_up_to=53)
    assert batch.shared_prefix.tolist() == common[:48]
    assert batch.input_ids.tolist() == [[68, 69, 8, 9] + 4 * [3], [68, 69, 5, 6, 7] + 3 * [3]]
    assert batch.labels.tolist() == [9, 6, 7]
    # of 48 states of the prefix and eight of each row; one before its label
    assert batch.positions.tolist() == [48 + 2, 56 + 2, 56 + 3]
    assert data.input_ids[batch.token].tolist() == [9, 6, 7]
    for limit in (0, 52):  # an example is longer
        assert collate(data, np.array([1, 0]), 0, 3, limit).shared_prefix.tolist() == []


@pytest.mark.parametrize(
    ("examples", "n"),
    [
        # the label at 16 is predicted at 15, which stays with its row
        (2 * [([*range(20)], 17)], 16),
        (2 * [([*range(20)], 16)], 8),
        (2 * [([*range(20)], 1)], 0),
        (2 * [([*range(20)], 0)], 0),
        # nothing supervised: every example keeps one token
        (2 * [([*range(17)], 17)], 8),
        (2 * [([*range(18)], 18)], 16),
        ([([*range(16), 1, 2], 17), ([*range(15), 1, 2, 3], 17)], 8),
        ([([*range(40)], 39), ([*range(6)], 5)], 0),
        (3 * [([5], 1)], 0),
    ],
)
def test_what_examples_share_predicts_no_label(examples, n):
    data = examples_of(*examples)
    assert shared_prefix_length([data.example(row) for row in range(len(data))]) == n


@pytest.mark.parametrize(
    ("n_common", "n_own", "n_rows", "n_once"),
    [
        (72, 79, 8, 72),  # 72 + 8 · 80 = 712, so 768 of 8 · 152 = 1216 tokens
        (24, 167, 8, 0),  # 24 + 8 · 168 = 1368, so 1408 of 8 · 192 = 1536: more than 80 %
        (32, 95, 4, 0),  # 32 + 4 · 96 = 416, so 448 of 4 · 128 = 512
        (32, 31, 4, 32),  # 32 + 4 · 32 = 160, so 192 of 4 · 64 = 256
        (48, 15, 1, 0),  # nothing to share with
    ],
)
def test_a_shared_prefix_is_stored_once_where_that_saves_a_fifth(n_common, n_own, n_rows, n_once):
    common = [*range(n_common)]
    data = examples_of(*((common + n_own * [100 + i], n_common + 5) for i in range(n_rows)))
    batch = collate(data, np.arange(n_rows), 0, 3, 1000)
    assert len(batch.shared_prefix) == n_once


def test_empty_budget_never_loops_forever():
    assert len(list(length_batches(np.array([10, 20]), 1))) == 2


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_last_batch_may_be_smaller(batch_size):
    sizes = sorted(len(b) for b in batch_schedule(np.ones(10, int), batch_size, 1, 0))
    assert sum(sizes) == 10 and sizes[-1] == batch_size
