from __future__ import annotations

import random
import re
from functools import cache
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.esci.catalogue import BRANDS, CATEGORIES, DEPARTMENTS
from sft_tradeoff.domains.esci.generated import generate, label
from sft_tradeoff.domains.esci.wording import Facts, Worded, _with_article, misspell
from sft_tradeoff.domains.registry import domain_spec


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    splits = generate(domain_spec(name="esci", n_train=500, n_validation=50, n_test=200))
    return [example for split in splits.values() for example in split]


@given(text=st.text(alphabet="abcdef GHI-'5", max_size=40), seed=st.integers(0, 99))
def test_misspell_swaps_or_drops_one_letter(text, seed):
    wrong = misspell(random.Random(seed), text)
    long_words = [w for w in re.findall(r"[A-Za-z]{5,}", text) if len(set(w[1:])) > 1]
    assert (wrong != text) is bool(long_words)
    if long_words and len(wrong) == len(text):
        assert sorted(wrong) == sorted(text)
        assert sum(a != b for a, b in zip(text, wrong, strict=True)) == 2
    elif long_words:
        assert wrong in {text[:i] + text[i + 1 :] for i in range(len(text))}


@pytest.mark.parametrize(
    ("phrase", "name", "category", "expected"),
    [
        ("black phone case", "phone case", "phone case", "a black phone case"),
        ("orange tent", "tent", "tent", "an orange tent"),
        ("8-cup coffee maker", "coffee maker", "coffee maker", "an 8-cup coffee maker"),
        ("L-shaped desk", "desk", "desk", "an L-shaped desk"),
        ("one-button coffee maker", "coffee maker", "coffee maker", "a one-button coffee maker"),
        ("uninsulated water bottle", "water bottle", "water bottle", "an uninsulated water bottle"),
        ("mattress", "mattress", "mattress", "a mattress"),
        ("wired headphones", "headphones", "headphones", "wired headphones"),
        ("wired headset", "headset", "headphones", "a wired headset"),
        ("dry dog food", "dog food", "dog food", "dry dog food"),
    ],
)
def test_articles(phrase, name, category, expected):
    assert _with_article(phrase, name, category) == expected


def test_phrases_put_prepositions_behind_the_noun():
    spellings = {"color": "red", "extra": "with kickstand", "material": "leather"}
    facts = Facts(category="phone case", brand=None, attributes={})
    worded = Worded(facts, "phone cover", spellings)
    assert worded.phrase(list(spellings)) == "red leather phone cover with kickstand"


@cache
def pattern(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(phrase.lower())}(?![\w-])")


def take(text: str, phrase: str) -> str | None:
    """Remove a phrase from a text; None if it does not occur."""
    shorter, n = pattern(phrase).subn(" | ", text, count=1)
    return shorter if n else None


def read(text: str) -> Facts:
    """Read facts back out of a text, longest spellings first."""
    text = text.lower()
    categories = {name: c.name for c in CATEGORIES.values() for name in c.names}
    name = max((name for name in categories if take(text, name)), key=len)
    text, category = take(text, name), categories[name]
    facts = Facts(category=category, brand=None, attributes={})
    spellings = [
        (spelling, name, value)
        for name, values in CATEGORIES[category].attributes.items()
        for value, forms in values.items()
        for spelling in forms
    ]
    for spelling, name, value in sorted(spellings, key=lambda item: -len(item[0])):
        shorter = take(text, spelling)
        if shorter is not None:
            text = shorter
            assert name not in facts["attributes"], "two values of one attribute"
            facts["attributes"][name] = value
    for brand in (brand for group in BRANDS.values() for brand in group):
        if take(text, brand) is not None:
            facts["brand"] = brand
    return facts


def test_labels_follow_from_the_texts_alone(examples):
    """The prompt is sufficient: reading it back gives the facts, and so the label."""
    for example in examples:
        query, product = example.meta["query"], example.meta["product"]
        assert f"\nQuery: {query['text']}\nProduct: {product['text']}\n" in example.prompt
        shown = read(product["text"])
        assert shown == {key: product[key] for key in shown}
        if not example.meta["typo"]:
            asked = read(query["text"])
            assert asked == {key: query[key] for key in asked}
            assert label(asked, shown) == example.answer


def test_typos_are_in_one_long_word(examples):
    catalogue = (
        f"{DEPARTMENTS} {BRANDS} looking for an I need a buy where can get show me by from sale"
    )
    known = set(re.findall(r"[a-z]+", catalogue.lower()))
    for example in examples:
        words = re.findall(r"[a-z]+", example.meta["query"]["text"].lower())
        unknown = [word for word in words if word not in known]
        assert len(unknown) <= 1
        assert all(len(word) >= 4 for word in unknown)
        assert not unknown or example.meta["typo"]


def test_reasoning_follows_the_rule(examples):
    for example in examples:
        text, answer = example.response.rsplit("\n", 1)
        query, product = example.meta["query"], example.meta["product"]
        assert answer == f"<answer>{example.answer}</answer>"
        assert query["category"] in text
        assert product["category"] in text
        assert text.count("is not met") == len(example.meta["rule"]["unmet"])
        n_requests = len(query["attributes"]) + (query["brand"] is not None)
        same = example.answer in "01"
        assert len(re.findall(r" is (?:not )?met", text)) == (n_requests if same else 0)
        conclusion = {"0": "exact match", "1": "substitute", "2": "complement", "3": "irrelevant"}
        mentioned = [digit for digit, word in conclusion.items() if word in text]
        assert mentioned == [example.answer]
        assert 2 <= len(re.findall(r"\.(?:\s|$)", text)) <= 4


def test_reasoning_notes_synonyms(examples):
    assert any(
        re.search(r'"cordless" against "(wireless|battery-powered)" is met', e.response)
        or re.search(r'"(wireless|battery-powered)" against "cordless" is met', e.response)
        for e in examples
    )


def test_texts_are_short(examples):
    assert median(len(e.prompt) for e in examples) <= 600
    assert max(len(e.response) for e in examples) <= 350
