"""Answers graded against each other before anything is trained."""

from __future__ import annotations

from sft_tradeoff.grading.equal_answers import SAMPLE, find_equal_answers


def fold(gold: str, given: str) -> bool:
    return gold.casefold() == given.casefold()


def test_equal_pairs_are_named_with_their_lines() -> None:
    found = find_equal_answers(["no", "Yes", "no", "yes", "maybe"], fold)
    assert found.pairs == [("Yes", "yes")] and found.n_compared == 6 and not found.are_most
    lines = {"Yes": 2, "yes": 4}
    assert found.describe(lines) == (
        "1 of 6 pairs of different answers, 'Yes' (line 2) and 'yes' (line 4)"
    )


def test_one_direction_is_enough_to_be_equal() -> None:
    assert find_equal_answers(["a", "ab"], str.startswith).pairs == [("a", "ab")]


def test_most_answers_collapse() -> None:
    found = find_equal_answers(map(str, range(10)), lambda gold, given: True)
    assert found.are_most and len(found.pairs) == 45
    assert found.describe(dict.fromkeys(map(str, range(10)), 1)).endswith("; and 42 more")


def test_a_large_file_is_sampled_over_all_of_it() -> None:
    found = find_equal_answers(map(str, range(10 * SAMPLE)), lambda gold, given: True)
    assert found.n_compared == SAMPLE * (SAMPLE - 1) // 2
    assert found.pairs[-1] == (str(10 * SAMPLE - 20), str(10 * SAMPLE - 10))


def test_nothing_to_compare() -> None:
    assert find_equal_answers([], fold).pairs == []
    assert not find_equal_answers(["a"], fold).are_most
