"""Lists in messages."""

import pytest

from sft_tradeoff.system.text import listing


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], "none"), ([1], "1"), ("ab", "a, b"), (iter("abc"), "a, b, and 1 more")],
)
def test_the_first_few_are_named(values: object, expected: str) -> None:
    assert listing(values, limit=2) == expected  # type: ignore[arg-type]


def test_ten_are_named_and_the_separator_is_kept() -> None:
    assert listing(range(11), separator="; ") == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 1 more"
