"""The round-trip check: what is learned is what is generated and graded."""

import pytest

from sft_tradeoff.domains.base import Score
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.tokenized import TokenizationError
from sft_tradeoff.system.records import read_jsonl
from sft_tradeoff.tokens.round_trip import check_round_trip
from sft_tradeoff.tokens.tokenize import tokenize_file


def is_response(record, text):
    """Grade as correct what equals the response."""
    return Score(text == record["response"], text)


def check(path, ends, score=is_response, max_length=200):
    tokenizer = byte_tokenizer()
    data = tokenize_file(tokenizer, path, max_length)
    return check_round_trip(tokenizer, ends, data, read_jsonl(path), score)


@pytest.fixture
def path(jsonl):
    return jsonl([{"id": str(n), "prompt": "Hi?", "response": "y" * n} for n in (2, 10)])


@pytest.mark.parametrize(("max_length", "n"), [(31, 2), (30, 1)])
def test_examples_are_counted_unless_they_are_truncated(path, max_length, n):
    """`<s>[USER] Hi? [/USER] ` has 20 tokens, and the responses 3 and 11 with their ends."""
    assert check(path, set(), max_length=max_length) == n


def test_an_end_within_the_response_is_refused(path):
    """The model's settings say that the byte y ends a generation; the response is yy."""
    y = byte_tokenizer().convert_tokens_to_ids("y")
    with pytest.raises(TokenizationError, match=r"do not end where.*generation_config\.json"):
        check(path, {y})


def test_an_answer_that_is_graded_differently_is_refused(path):
    """Grading that depends on more than the text of the answer."""
    verdicts = iter([True, False])

    def fickle(record, text):
        return Score(next(verdicts), text)

    with pytest.raises(TokenizationError, match=r"graded differently.*its answer reads 'yy'"):
        check(path, set(), fickle)
