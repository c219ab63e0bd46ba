"""Text, place and kind of response tokens, by hand."""

from __future__ import annotations

import numpy as np

from sft_tradeoff.analysis.token_kinds import Describer
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.tokenized import TokenizedData, TokenizedExample

TOKENIZER = byte_tokenizer()  # one token per character
PROMPT = "ask"


def describer(*responses: str, names: list[str] | None = None) -> Describer:
    prompt = TOKENIZER.encode(PROMPT, add_special_tokens=False)
    examples = []
    for n, response in enumerate(responses):
        ids = TOKENIZER.encode(response, add_special_tokens=False)
        mask = [False] * len(prompt) + [True] * len(ids)
        examples.append(TokenizedExample(str(n), prompt + ids, mask, False))
    return Describer(TokenizedData.from_examples(examples), TOKENIZER, names)


def kinds(found: Describer, row: int = 0) -> str:
    """First letters of the kinds of one response."""
    columns = found.columns(np.flatnonzero(found.data.response_mask))
    return "".join(
        k[0] for k, e in zip(columns["kind"], columns["example"], strict=True) if e == str(row)
    )


def test_columns_by_hand() -> None:
    found = describer("ab", "c", names=["x", "y"])
    columns = found.columns(np.array([3, 4, 8]))  # "ask" + "ab", then "ask" + "c"
    assert columns["example"].tolist() == ["x", "x", "y"]
    assert columns["place"].tolist() == [0, 1, 0]
    assert columns["text"].tolist() == ["a", "b", "c"]
    assert columns["token"].tolist() == found.data.input_ids[[3, 4, 8]].tolist()


def test_kinds_by_hand() -> None:
    """Only the letter differs: no three tokens around it are shared, whatever the number."""
    found = describer("is 12 q.", "is 97 z.", "is 30 k.")
    assert kinds(found) == "tttddtct"
    assert kinds(describer("a bx", "a cx", "a dx")) == "ttct"


def test_a_tenth_of_the_responses_is_enough_and_one_is_not() -> None:
    """Of 20 responses, 2 share 'pq'; the first token counts without its neighbors."""
    responses = [chr(ord("A") + n) + "!" for n in range(18)] + ["pqr", "pqr"]
    found = describer(*responses)
    assert kinds(found, 18) == "ttt"
    assert kinds(found, 0) == "ct"
    assert kinds(describer("abc"), 0) == "ccc"  # a single response shares nothing
