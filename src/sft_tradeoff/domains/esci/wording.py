"""Wording of the ESCI-style domain: write facts as a query, a product text or a reasoning."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TypedDict

from sft_tradeoff.domains.esci.catalogue import CATEGORIES

_QUERY_TEMPLATES = (
    "{phrase}",
    "{brand} {name} {spellings}",
    "{brand} {name}, {listed}",
    "looking for {a_phrase}",
    "I need {a_phrase}",
    "buy {phrase}",
    "where can I get {a_phrase}?",
    "show me {a_phrase}",
    "{phrase} for sale",
)
_CONCLUSIONS = {
    "0": "All requests are met, so it is an exact match.",
    "1": "Not all requests are met, so it is a substitute.",
    "2": "The two are used together, so it is a complement.",
    "3": "The two are not used together, so it is irrelevant.",
}
_FOLLOWS_NOUN = ("with ", "without ", "for ", "in ")
_SMALL_WORDS = {"with", "without", "for", "in", "of", "a", "mm", "cm", "ml", "oz", "ft", "lb"}
_TAKES_AN = re.compile(r"(?!one)[aeiou]|8|l-", re.IGNORECASE)
_LETTERS = "BCDGKMNRTVX"


class Facts(TypedDict):
    """The requests of a query, or the properties of a product, as canonical values."""

    category: str
    brand: str | None
    attributes: dict[str, str]


@dataclass(frozen=True)
class Worded:
    """Facts with one spelling chosen for the category and for each attribute."""

    facts: Facts
    name: str
    spellings: dict[str, str]

    def phrase(self, attributes: list[str]) -> str:
        """Noun phrase with some of the attributes: ``black phone case with kickstand``."""
        spellings = [self.spellings[name] for name in attributes]
        before = [text for text in spellings if not text.startswith(_FOLLOWS_NOUN)]
        after = [text for text in spellings if text.startswith(_FOLLOWS_NOUN)]
        return " ".join([*before, self.name, *after])


def choose_words(rng: random.Random, facts: Facts) -> Worded:
    """Draw one spelling of the category and of each attribute."""
    category = CATEGORIES[facts["category"]]
    return Worded(
        facts=facts,
        name=rng.choice(category.names),
        spellings={
            name: rng.choice(category.attributes[name][value])
            for name, value in facts["attributes"].items()
        },
    )


def _with_article(phrase: str, name: str, category: str) -> str:
    plural = name.endswith("s") and not name.endswith("ss")
    if plural or not CATEGORIES[category].countable:
        return phrase
    return f"{'an' if _TAKES_AN.match(phrase) else 'a'} {phrase}"


def query_text(rng: random.Random, query: Worded) -> str:
    """Write what a shopper types: a phrase, keywords or a sentence, often in lower case."""
    brand = query.facts["brand"] or ""
    phrase = query.phrase(list(query.spellings))
    if brand:
        phrase = rng.choice((f"{brand} {phrase}", f"{phrase} by {brand}", f"{phrase} from {brand}"))
    text = rng.choice(_QUERY_TEMPLATES).format(
        phrase=phrase,
        a_phrase=_with_article(phrase, query.name, query.facts["category"]),
        brand=brand,
        name=query.name,
        spellings=" ".join(query.spellings.values()),
        listed=", ".join(query.spellings.values()),
    )
    return (text.lower() if rng.random() < 0.5 else text).strip()


def misspell(rng: random.Random, text: str) -> str:
    """Swap two letters or drop one in a word of at least five letters, if there is one."""
    words = [match for match in re.finditer(r"[A-Za-z]{5,}", text) if len(set(match[0][1:])) > 1]
    if not words:
        return text
    word = rng.choice(words)
    i = rng.choice([i for i in range(word.start() + 1, word.end() - 1) if text[i] != text[i + 1]])
    middle = text[i + 1] + text[i] if rng.random() < 0.5 else text[i + 1]
    return text[:i] + middle + text[i + 2 :]


def product_text(rng: random.Random, product: Worded) -> str:
    """Write a title with one or two attributes, and a line with all the others."""
    attributes = list(product.spellings)
    in_title = rng.sample(attributes, rng.randint(1, 2))
    details = [product.spellings[name] for name in attributes if name not in in_title]
    rng.shuffle(details)
    words = product.phrase([name for name in attributes if name in in_title]).split()
    title = " ".join(w if w in _SMALL_WORDS else w[0].upper() + w[1:] for w in words)
    model = f"{rng.choice(_LETTERS)}{rng.choice(_LETTERS)}-{rng.randint(100, 999)}"
    return f"{product.facts['brand']} {model} {title}\nDetails: {'; '.join(details)}"


def _comparisons(query: Worded, product: Worded, missed: list[str]) -> str:
    """One clause per request: what is asked for, what is listed, and whether that meets it."""
    pairs = {name: (asked, product.spellings[name]) for name, asked in query.spellings.items()}
    if query.facts["brand"] and product.facts["brand"]:
        pairs["brand"] = query.facts["brand"], product.facts["brand"]
    return "; ".join(
        f'"{asked}" against "{listed}" is {"not met" if name in missed else "met"}'
        for name, (asked, listed) in pairs.items()
    )


def reasoning(query: Worded, product: Worded, missed: list[str], answer: str) -> str:
    """Walk through the rule: the kinds of product, then each request, then the conclusion.

    Each finding follows what it is found from, so that a model can read it off its own words.

    Args:
        query: The query, in the words of its text.
        product: The product, in the words of its text.
        missed: The requests that are not met; not used where the categories differ.
        answer: The label that follows.

    Returns:
        Two or three short sentences.
    """
    category, other = query.facts["category"], product.facts["category"]
    wanted, offered = (_with_article(kind, kind, kind) for kind in (category, other))
    kind = "another kind"
    if category == other:
        kind = f"the same kind. {_comparisons(query, product, missed)}"
    return (
        f"The query asks for {wanted}, and the product is {offered}: {kind}. {_CONCLUSIONS[answer]}"
    )
