"""Tokens of the answer, found through each domain's own grading."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sft_tradeoff.domains.registry import domain_spec, get_domain
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.tokenization import tokenize_example
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.tokens.answer_tokens import answer_tokens


def found(records, score, max_length=4000):
    """The text of the tokens found in each response, which are single bytes; | between places."""
    tokenizer = byte_tokenizer()
    data = TokenizedData.from_examples(tokenize_example(tokenizer, r, max_length) for r in records)
    flags = answer_tokens(tokenizer, data, records, score, range(len(data)))
    assert not flags[~data.response_mask].any(), "no token of a prompt"
    texts = []
    for i in range(len(data)):
        ids, _ = data.example(i)
        here = flags[data.offsets[i] : data.offsets[i + 1]]
        text = "".join(tokenizer.decode([t]) if f else "|" for t, f in zip(ids, here, strict=True))
        texts.append(re.sub(r"\|+", "|", text).strip("|"))
    return texts


def generated(name, **settings):
    sizes = {"n_train": 6, "n_validation": 0, "n_test": 2}
    spec = domain_spec(name=name, **sizes, **settings)
    domain = get_domain(name)
    return [example.to_dict() for example in domain.generate(spec)["train"]], domain.score


@pytest.mark.parametrize("variant", ["cot", "label_only"])
def test_esci_reads_one_digit_and_not_its_tags(variant):
    records, score = generated("esci", variant=variant)
    assert found(records, score) == [record["answer"] for record in records]


@pytest.mark.parametrize("variant", ["cot", "label_only"])
def test_math_reads_the_number_behind_the_mark(variant):
    """And not the same number earlier in the solution."""
    records, score = generated("math", variant=variant)
    assert found(records, score) == [record["answer"] for record in records]


@pytest.mark.parametrize("variant", ["cot", "label_only"])
def test_medcalc_reads_the_last_line(variant):
    """Numbers, dates, and weeks with days; words and marks inside them may be found or not."""
    records, score = generated("medcalc", variant=variant, calculators=[5, 31, 68, 69])
    for record, text in zip(records, found(records, score), strict=True):
        last = record["response"].rsplit("Final answer:", 1)[1]
        assert re.sub(r"\D", "", text) == re.sub(r"\D", "", last), record["response"]


def own(metric, *lines, labels=()):
    meta = {"metric": metric, "tolerance": 0.0, "labels": list(labels)}
    return [
        {"id": str(i), "prompt": "?", "response": response, "answer": answer, "meta": meta}
        for i, (response, answer) in enumerate(lines)
    ], get_domain("own").score


def test_own_numbers():
    records, score = own(
        "numeric", ("3 and 4 make 7.50 kg", "7.50"), ("so -12,000 in all", "-12,000")
    )
    assert found(records, score) == ["7.50", "-12,000"]


def test_own_labels_are_found_by_another_examples_label():
    lines = ("It is entailment", "entailment"), ("contradiction, clearly", "contradiction")
    records, score = own("choice", *lines, labels=("entailment", "contradiction"))
    assert found(records, score) == ["entailment", "contradiction"]


def test_a_text_that_is_compared_as_a_whole_is_all_answer_but_for_its_spaces():
    records, score = own("exact_match", ("in the end", "in the end"))
    assert found(records, score) == ["in|the|end"]


def test_truncated_and_unreadable_answers_have_none():
    records, score = own("numeric", ("the sum of them is 7", "7"), ("none", "none"))
    assert found(records, score, max_length=30) == ["", ""]


def test_only_the_rows_asked_for():
    records, score = own("numeric", ("7", "7"), ("8", "8"))
    tokenizer = byte_tokenizer()
    data = TokenizedData.from_examples(tokenize_example(tokenizer, r, 100) for r in records)
    flags = answer_tokens(tokenizer, data, records, score, [1])
    assert np.flatnonzero(flags).tolist() == [data.offsets[2] - 2]  # before the end of turn
