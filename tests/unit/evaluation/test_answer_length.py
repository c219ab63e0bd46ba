"""How many tokens are generated: never less than the longest right answer has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.evaluation.answer_length import AnswerLengthError, max_new_tokens
from sft_tradeoff.models.tokenized import TokenizedData, TokenizedExample

OWN = domain_spec(name="own", path="x.jsonl")


def tokens(*sizes: tuple[int, int], truncated: bool = False) -> TokenizedData:
    """Examples with these numbers of prompt and response tokens, truncated or not."""
    return TokenizedData.from_examples(
        TokenizedExample(str(i), [1] * (p + r), [False] * p + [True] * r, truncated)
        for i, (p, r) in enumerate(sizes)
    )


def test_responses_are_counted_with_their_ends() -> None:
    np.testing.assert_array_equal(tokens((3, 2), (1, 5)).n_supervised, [2, 5])


@pytest.mark.parametrize(
    ("longest", "window", "expected"),
    [
        (1, 2048, 64),
        (44, 2048, 64),  # 1.25 · 44 + 8 = 63
        (100, 2048, 133),
        (1500, 2048, 1883),
        (1500, 1600, 1590),  # no margin beyond the window: prompts have 10 tokens
        (1500, 1510, 1500),
        (1, 40, 30),
    ],
)
def test_by_the_longest_response(longest: int, window: int, expected: int) -> None:
    assert max_new_tokens(OWN, tokens((10, 1), (3, longest)), window) == expected


def test_a_number_set_by_the_study_is_used_or_refused() -> None:
    spec = OWN.model_copy(update={"max_new_tokens": 20})
    assert max_new_tokens(spec, tokens((10, 5), (3, 20)), 2048) == 20
    with pytest.raises(
        AnswerLengthError, match=r"max_new_tokens 20 is less than the 21 .*example 2\)"
    ):
        max_new_tokens(spec, tokens((10, 5), (3, 21)), 2048)


def test_a_domains_default_grows_if_responses_are_longer() -> None:
    """12 tokens are the default for a label of esci; a byte-level tokenizer may need more."""
    spec = domain_spec(name="esci", variant="label_only")
    assert max_new_tokens(spec, tokens((10, 12)), 2048) == 12
    assert max_new_tokens(spec, tokens((10, 13)), 2048) == 64


@pytest.mark.parametrize("spec", [OWN, domain_spec(name="esci", variant="label_only")])
def test_a_truncated_response_gets_the_whole_window(spec: DomainSpec) -> None:
    """Its length is unknown, so any margin could be too small."""
    assert max_new_tokens(spec, tokens((10, 12), truncated=True), 2048) == 2038
    asked = spec.model_copy(update={"max_new_tokens": 20})
    assert max_new_tokens(asked, tokens((10, 12), truncated=True), 2048) == 20


def test_a_window_that_is_too_small_is_named() -> None:
    with pytest.raises(
        AnswerLengthError, match=r"max_length: 1509 is too small .* 10 tokens .* 1500; .*1510"
    ):
        max_new_tokens(OWN, tokens((10, 1), (3, 1500)), 1509)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 3000)), min_size=1), st.integers(1))
def test_every_response_fits_and_every_prompt_too(
    sizes: list[tuple[int, int]], window: int
) -> None:
    data = tokens(*sizes)
    try:
        n_new = max_new_tokens(OWN, data, window)
    except AnswerLengthError:
        assert max(p for p, _ in sizes) + max(r for _, r in sizes) > window
    else:
        assert max(r for _, r in sizes) <= n_new <= window - max(p for p, _ in sizes)
