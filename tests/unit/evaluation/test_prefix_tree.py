"""Prefix trees and batches of them, compared with results worked out by hand."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.evaluation.prefix_tree import PrefixTree, tree_batches
from sft_tradeoff.models.padding import padded_width


def test_prefix_tree_by_hand():
    """1 2 3 9 and 1 2 4 5 6: nodes 1 2 3 4 5; 4 follows 2, and neither sees 3."""
    tree = PrefixTree()
    tree.add(0, [1, 2, 3, 9], [3])
    assert not tree.branches
    tree.add(1, [1, 2, 4, 5, 6], [2, 4])
    assert tree.branches
    assert tree.ids == [1, 2, 3, 4, 5]
    assert tree.parent == [-1, 0, 1, 1, 3]
    assert tree.depth == [0, 1, 2, 2, 3]
    assert tree.targets == [(2, 9, 0), (1, 4, 1), (4, 6, 1)]
    assert tree.attention().astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def chain(sequence, n):
    """A tree of one sequence with n nodes, whose last token is scored."""
    tree = PrefixTree()
    tree.add(sequence, list(range(n + 1)), [n])
    return tree


def test_short_trees_fill_the_padding_of_long_ones():
    """16 columns, two rows: 12, and 10 followed by 3; then 9, which fits nowhere."""
    trees = [chain(i, n) for i, n in enumerate([9, 3, 12, 10])]
    batches = list(tree_batches(trees, 32, fill=True))
    assert [[len(tree) for tree in batch] for batch in batches] == [[13, 12], [9]]
    filled = batches[0][0]
    assert filled.parent == [*range(-1, 9), -1, 10, 11]
    assert filled.depth == [*range(10), *range(3)]
    assert filled.targets == [(9, 10, 3), (12, 3, 1)]
    assert filled.branches


def test_wide_rows_are_not_filled():
    """Two rows of 600 columns: 3 would fit after the 590, but 600 is more than 512."""
    trees = [chain(i, n) for i, n in enumerate([600, 590, 3])]
    batches = list(tree_batches(trees, 1200, fill=True))
    assert [[len(tree) for tree in batch] for batch in batches] == [[590, 600], [3]]


@given(
    sizes=st.lists(st.integers(1, 600), max_size=30),
    batch_tokens=st.integers(1, 3000),
    fill=st.booleans(),
)
@settings(deadline=None)
def test_batches_hold_every_sequence_once_within_the_budget(sizes, batch_tokens, fill):
    trees = [chain(i, n) for i, n in enumerate(sizes)]
    batches = list(tree_batches(trees, batch_tokens, fill))
    rows = [tree for batch in batches for tree in batch]
    assert sorted(seq for tree in rows for *_, seq in tree.targets) == list(range(len(sizes)))
    assert sum(map(len, rows)) == sum(sizes)
    for batch in batches:
        width = padded_width(max(map(len, batch)))
        assert len(batch) == 1 or len(batch) * width <= batch_tokens
    if not fill:
        assert len(rows) == len(sizes)
