"""Drawing the splits of a data set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.draw import digest, draw
from sft_tradeoff.domains.registry import domain_spec


def spec(**sizes):
    return domain_spec(
        name="hub_metamath", **{"n_train": 9, "n_validation": 0, "n_test": 1} | sizes
    )


def test_draw_by_hand():
    """Groups 1 (rows 0, 3), 2 (rows 1, 2), 3 (row 4).

    Validation of 3 takes group 1 and row 2 of group 2 (its order 10 is before 20); row 1 shares
    that group, so training has row 4 alone. The test is the two smallest of 5, 3, 9.
    """
    group = np.array([1, 2, 2, 1, 3], dtype=np.uint64)
    order = np.array([50, 20, 10, 40, 30], dtype=np.uint64)
    drawn = draw(spec(n_validation=3, n_test=2), order, group, np.array([5, 3, 9], np.uint64))
    assert drawn.validation.tolist() == [3, 0, 2]
    assert drawn.train.tolist() == [4]
    assert drawn.test.tolist() == [1, 0]
    assert drawn.n_excluded == 1


@given(st.data())
def test_draw_keeps_groups_apart_and_takes_as_many_as_there_are(data):
    groups = data.draw(st.lists(st.integers(0, 6), min_size=2, max_size=30))
    n_validation = data.draw(st.integers(0, len(groups)))
    order = np.array([digest(0, str(i)) for i in range(len(groups))], dtype=np.uint64)
    group = np.array([digest(0, str(g)) for g in groups], dtype=np.uint64)
    wanted = spec(n_validation=n_validation, n_train=5)
    try:
        drawn = draw(wanted, order, group, order)
    except ValueError as error:
        assert "leave nothing to train on" in str(error)
        return
    assert len(drawn.validation) == n_validation
    taken = {groups[i] for i in drawn.validation}
    free = [i for i, g in enumerate(groups) if g not in taken]
    assert drawn.train.tolist() == sorted(free, key=lambda i: order[i])[:5]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"n_test": 3}, "n_test: 3 examples requested, but the data set has 2; use n_test <= 2"),
        ({"n_validation": 3}, "n_validation: 3 examples requested, but the data set has 2"),
        ({"n_validation": 2}, "n_validation: 2 of 2 candidates leave nothing to train on"),
    ],
)
def test_sizes_that_cannot_be_met(sizes, words):
    two = np.array([1, 2], dtype=np.uint64)
    with pytest.raises(ValueError, match=words):
        draw(spec(**sizes), two, two, two)
