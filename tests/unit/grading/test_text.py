"""Normal forms, and finding the final answer in a text."""

from __future__ import annotations

import time
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.grading.text import final_answer, normal_form, normalize, text_id


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("x\nFinal answer: 3 kg.\n", "3 kg"),
        ("FINAL ANSWER:3", "3"),
        ("**Final answer:** $3$", "3"),
        ("Final answer:\n\n**3**", "3"),
        ("Final answer: 1 Final answer: 2", "1 Final answer: 2"),
        ("Final answer: 1\nfinal answer: 2", "2"),
        ("final answer is 3", None),
        ("Final answer:", ""),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


MARKS = st.text(
    st.sampled_from("ae\u0301\u0316\u0323\u0344\u0f71\u0f72\u0f73\u3099か한é…"), max_size=9
)


@given(MARKS, st.sampled_from(["NFC", "NFD", "NFKC"]))
def test_a_long_text_has_its_normal_form(text: str, form: Literal["NFC", "NFD", "NFKC"]) -> None:
    long = "é" * 10_000 + text
    assert normal_form(form, long) == unicodedata.normalize(form, long)


def test_many_combining_marks_are_normalized_in_linear_time() -> None:
    """Python alone would take half a minute."""
    start = time.process_time()
    assert len(normalize("e" + "\u0301\u0316" * 100_000)) == 200_000
    assert time.process_time() - start < 5


def test_the_name_of_a_text_is_that_of_its_normal_form() -> None:
    """Also of half a surrogate pair, which some files hold."""
    assert text_id("Two  Rivers\nmeet") == text_id("two rivers meet") != text_id("two rivers met")
    assert len(text_id("\ud800")) == 16
