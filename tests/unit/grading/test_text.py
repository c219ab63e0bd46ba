"""Finding the final answer in a text."""

from __future__ import annotations

import pytest

from sft_tradeoff.grading.text import final_answer


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
