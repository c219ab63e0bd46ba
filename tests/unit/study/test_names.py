"""Names from the names of files and folders."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from sft_tradeoff.study.names import slug
from sft_tradeoff.system.strict import Name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my data (2)", "my-data-2"),
        ("数据", "unnamed"),
        ("x" * 300, "x"),
        ("ab" * 20, "ab"),
        ("n-" * 30, "n-n"),
        ("run-0000", "run-0000"),
    ],
)
def test_a_slug_can_be_part_of_a_name(text: str, expected: str) -> None:
    assert slug(text) == expected
    TypeAdapter(Name).validate_python(f"own-{expected}")
