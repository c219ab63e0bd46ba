"""Lists and values in messages, and texts of any origin on a terminal."""

import pytest

from sft_tradeoff.system.text import escaped, listing, shortened, shown


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], "none"), ([1], "1"), ("ab", "a, b"), (iter("abc"), "a, b, and 1 more")],
)
def test_the_first_few_are_named(values: object, expected: str) -> None:
    assert listing(values, limit=2) == expected  # type: ignore[arg-type]


def test_ten_are_named_and_the_separator_is_kept() -> None:
    assert listing(range(11), separator="; ") == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 1 more"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("over\rwritten\x08\x00\x7f\x9b2J", r"over\rwritten\x08\x00\x7f\x9b2J"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        (b"\xe9t\xe9".decode("utf-8", "surrogateescape"), r"\udce9t\udce9"),
    ],
)
def test_what_would_change_a_terminal_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


@pytest.mark.parametrize(
    "text", ["a\n\tb", "né à\u00a0Zürich", "日本語", "می\u200cخواهم", "👩\u200d🔬", "\\x1b"]
)
def test_letters_and_lines_stay(text: str) -> None:
    assert escaped(text) == text


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(10, "0123456789"), (9, "012345 [1 characters left out] 789")],
)
def test_a_long_text_keeps_its_start_and_its_end(limit: int, expected: str) -> None:
    assert shortened("0123456789", limit) == expected


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
