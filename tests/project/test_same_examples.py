"""Random tests take the same examples, whichever modules the tests before them imported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def examples() -> list[tuple[int, str]]:
    found = []

    @settings(max_examples=200, derandomize=True)  # also where the profile is to explore
    @given(number=st.integers(), text=st.text())
    def random_test(number: int, text: str) -> None:
        found.append((number, text))

    random_test()
    return found


def test_an_import_changes_no_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of modules that are no library hypothesis would try the constants."""
    before = examples()
    path = tmp_path / "of_ones_own.py"
    path.write_text("\n".join(f"{n}\n'word {n}'" for n in range(10**6, 10**6 + 500)))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("of_ones_own")
    try:
        assert examples() == before
    finally:
        del sys.modules["of_ones_own"]
