"""The lower bound of tokens never exceeds their number."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.token_bound import beginning, fewest_tokens
from sft_tradeoff.models.tokenization import encode_rendered, tokenize_example
from sft_tradeoff.models.tokenized import TokenizationError
from sft_tradeoff.models.tokenizer import load_tokenizer

TEXTS = st.text(st.sampled_from("ab c\n\t\u1100\u1161\u11a8\u0301eé한日…ﷺ\u3000"))


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """Composes letters and merges white space, as SentencePiece does; one token is three long."""
    alphabet = {c: i for i, c in enumerate("<ab ce\u0301é한각日.…▁")}
    tokenizer = Tokenizer(
        models.BPE(alphabet | {"ab": 90, "abc": 91}, [("a", "b"), ("ab", "c")], unk_token="<")
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("make", [byte_tokenizer, merging_tokenizer])
@given(text=TEXTS, repeated=st.integers(1, 20))
def test_no_text_has_fewer_tokens(make: object, text: str, repeated: int) -> None:
    tokenizer = make()  # type: ignore[operator]
    text *= repeated
    assert fewest_tokens(tokenizer, text) <= len(encode_rendered(tokenizer, text))


def test_a_beginning_has_more_tokens_than_are_needed(random_model: Path) -> None:
    tokenizer: PreTrainedTokenizerBase = load_tokenizer(random_model)
    assert beginning(tokenizer, "a b" * 100, 300) == "a b" * 100
    text = " " * 50_000 + "a " * 100_000
    part = beginning(tokenizer, text, 100)
    assert text.startswith(part) and 50_000 < len(part) < 110_000
    assert fewest_tokens(tokenizer, part) > 100


def test_a_huge_text_is_truncated_or_refused_without_tokenizing_it(random_model: Path) -> None:
    tokenizer = load_tokenizer(random_model)
    whole = {"id": "a", "prompt": "x", "response": "ab " * 20_000}
    part = tokenize_example(tokenizer, whole, 100)
    assert part == tokenize_example(tokenizer, whole | {"response": "ab " * 90}, 100)
    with pytest.raises(TokenizationError, match="the prompt has at least 2000 tokens, so no resp"):
        tokenize_example(tokenizer, whole | {"prompt": "ab " * 20_000}, 100)
