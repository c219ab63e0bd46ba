"""The loss that is left once the form of responses is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sft_tradeoff.models.tokenized import TokenizedData, TokenizedExample
from sft_tradeoff.tokens.form import form_nll


def split(responses, prompt=(90, 91)):
    """Responses as lists of token ids."""
    return TokenizedData.from_examples(
        TokenizedExample(
            id=str(i),
            input_ids=[*prompt, *response],
            response_mask=[False] * len(prompt) + [True] * len(response),
            truncated=False,
        )
        for i, response in enumerate(responses)
    )


def losses(responses, vocabulary=100):
    data = split(responses)
    found = form_nll(data, vocabulary, range(len(data)))
    assert np.isnan(found).tolist() == (~data.response_mask).tolist()
    ends = np.cumsum([len(response) for response in responses])[:-1]
    return np.split(found[data.response_mask], ends)


def test_tags_cost_nothing_and_a_label_the_logarithm_of_their_number():
    """100 responses `1 x 2` with four equally frequent x."""
    found = np.array(losses([[1, 10 + i % 4, 2] for i in range(100)]))
    assert found[:, [0, 2]].max() < 0.02
    assert found[:, 1] == pytest.approx(math.log(4), abs=0.1)


def test_two_responses_by_hand():
    """`5` and `6`, as every context of START has both once.

    Without its own occurrence a token was never seen: of the other one, n − 1 = 1 occurrence and
    2 − 1 = 1 kind. So each of five contexts halves what the shorter one gives, from 1/100:
    p = 1 / (100 · 2⁵).
    """
    for found in losses([[5], [6]]):
        assert found.tolist() == pytest.approx([math.log(3200)])


def test_a_response_does_not_predict_itself():
    """A rare response repeats nothing of the others; a copy of another one does."""
    rare, copy = losses([[1, 2, 3, 4, 5], *[[6, 7, 8, 9, 10]] * 20])[:2]
    assert rare.min() > 5 > 1 > copy.max()


def test_only_some_examples_are_needed_and_others_are_counted():
    data = split([[1, 10 + i % 4, 2] for i in range(100)])
    some = form_nll(data, 100, [3, 70])
    every = form_nll(data, 100, range(100))
    assert (~np.isnan(some)).sum() == 6
    assert np.array_equal(some[~np.isnan(some)], every[~np.isnan(some)])


def test_no_tokens_but_one():
    """A single token: nothing else is known than the size of the vocabulary."""
    assert losses([[7]], vocabulary=50)[0].tolist() == pytest.approx([math.log(50)])
