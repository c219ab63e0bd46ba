"""The hash of a vocabulary tells vocabularies apart."""

from __future__ import annotations

from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.vocabulary import token_texts, vocabulary_sha256


def test_a_new_token_is_another_vocabulary() -> None:
    tokenizer = byte_tokenizer()
    before = vocabulary_sha256(tokenizer)
    assert before == vocabulary_sha256(byte_tokenizer()) and len(before) == 64
    tokenizer.add_tokens(["new"])
    assert vocabulary_sha256(tokenizer) != before


def test_texts_of_single_tokens() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode("a é", add_special_tokens=False)
    texts = token_texts(tokenizer, ids)
    assert texts[:2] == ["a", " "]
    assert set(texts[2:]) == {"�"} and len(texts) == 4  # two bytes of one character
