"""Lists and values in messages."""

import pytest

from sft_tradeoff.system.text import listing, shown


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], "none"), ([1], "1"), ("ab", "a, b"), (iter("abc"), "a, b, and 1 more")],
)
def test_the_first_few_are_named(values: object, expected: str) -> None:
    assert listing(values, limit=2) == expected  # type: ignore[arg-type]


def test_ten_are_named_and_the_separator_is_kept() -> None:
    assert listing(range(11), separator="; ") == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 1 more"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        ("é\x1b[31m\n", r"'é\x1b[31m\n'"),
        (1e-5, "1e-05"),
        (["a", None], "['a', None]"),
        ("x" * 78, f"'{'x' * 78}'"),
        ("x" * 79, f"'{'x' * 79}..."),
        (list(range(10**6)), f"{str(list(range(40)))[:80]}..."),
    ],
)
def test_values_are_one_short_line_without_control_characters(value: object, expected: str) -> None:
    assert shown(value) == expected
