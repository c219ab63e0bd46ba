"""Checks that need the tokenizer; the random model's tokens are bytes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sft_tradeoff.planning.own import own_study
from sft_tradeoff.planning.own_tokens import check_tokens
from sft_tradeoff.study.config import parse_study
from sft_tradeoff.system.console import UserError

Line = dict[str, Any]
Check = Callable[..., None]


def questions(n: int, **keys: Any) -> list[Line]:
    return [{"prompt": f"Question {i}?", "response": f"Reply {i}", **keys} for i in range(n)]


@pytest.fixture
def check(tmp_path: Path, random_model: Path) -> Check:
    def run(lines: Sequence[Line], **domain: Any) -> None:
        path = tmp_path / "d.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        study = own_study(path, str(random_model))
        study["domains"][0] |= domain
        check_tokens(parse_study(study, "s.yaml"), Path("s.yaml"))

    return run


def problems_of(check: Check, lines: Sequence[Line], **domain: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        check(lines, **domain)
    return [line.strip() for line in str(caught.value).split("\n") if line.startswith("  line")]


def test_control_tokens_are_refused_by_line(check: Check) -> None:
    """An answer with an end mark can never be given; a prompt with one closes the user's turn."""
    lines = [
        *questions(10),
        {"prompt": "a", "response": "ok</s>"},
        {"prompt": "b</s><s>[USER]", "response": "ok"},
        {"prompt": "c", "response": "ok", "system": "Be <s>brief"},
        {"prompt": "< s >", "response": "</ s> &lt;s&gt;"},
    ]
    what = "a control token of this model; remove it (the chat template writes the start and end"
    expected = [
        f"line 11: the response contains '</s>', {what}",
        f"line 12: the prompt contains '</s>', {what}",
        f"line 13: the system turn contains '<s>', {what}",
    ]
    for problem, start in zip(problems_of(check, lines), expected, strict=True):
        assert problem.startswith(start)
    check([*lines[:10], lines[13]])


def test_responses_longer_than_the_cap_are_refused_by_line(check: Check) -> None:
    """Nine bytes and the end are ten tokens; of the ten test lines all are as long or shorter."""
    lines = [*questions(10, split="train"), *questions(10, split="test")]
    for i, line in enumerate(lines):
        line |= {"prompt": f"Question {i}?", "response": "y" * 9}
    lines[13]["response"] = "y" * 10
    lines[2]["response"] = "y" * 30  # learned, not asked for
    assert problems_of(check, lines, max_new_tokens=10) == [
        "line 14: the response has more tokens than max_new_tokens, 10 (line 14: 11 tokens)"
    ]
    check(lines, max_new_tokens=11)
    check(lines)


def test_some_cut_responses_are_told_and_most_are_refused(
    check: Check, caplog: pytest.LogCaptureFixture
) -> None:
    """`Question 0?` has 28 tokens; 768 − 28 hold 739 bytes and the end."""
    lines = [*questions(8, split="train"), *questions(2, split="test")]
    for i, line in enumerate(lines):
        line["prompt"] = f"Question {i}?"
    for line in lines[:3]:
        line["response"] = "y" * 740
    lines[3]["response"] = "y" * 739
    check(lines)
    (warning,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert warning.startswith(
        "warning: 3 of 8 train responses (38%) are truncated at training.max_length (768 tokens), "
        "so their ends are not learned (lines 1, 2, 3); to keep all whole, raise "
        "training.max_length (768) to 769 in "
    )
    lines[3]["response"] = "y" * 2000
    with pytest.raises(
        UserError, match=r"4 of 8 train .*\(lines 1, 2, 3, 4\).* \(768\) to 2029 in"
    ):
        check(lines)


def test_a_system_text_takes_its_place(check: Check) -> None:
    """The random model's template has no system role and writes its text as any other turn's."""
    line = {"prompt": "x", "response": "y", "system": "z" * 760}
    (problem,) = problems_of(check, [*questions(10), line])
    assert problem.startswith("line 11: the prompt has ")


def test_huge_texts_are_not_tokenized(check: Check, caplog: pytest.LogCaptureFixture) -> None:
    """The random model's longest token has 5 characters; a normal form merges at most 4.

    The prompt x has 18 tokens.
    """
    huge = "ab " * 1_000_000
    start = time.process_time()
    assert problems_of(check, [*questions(20), {"prompt": huge, "response": "y"}]) == [
        "line 21: the prompt has more than 767 tokens, which leaves none for a response (line 21: "
        f"at least {2_000_000 // 20} tokens)"
    ]
    check([*questions(20), {"prompt": "x", "response": huge}])
    (warning,) = (text for text in caplog.messages if "truncated" in text)
    needed = 18 + 2_000_000 // 20
    assert f"(line 21); to keep all whole, take a model that reads at least {needed} t" in warning
    assert time.process_time() - start < 10
