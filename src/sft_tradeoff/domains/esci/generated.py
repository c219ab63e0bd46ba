"""ESCI-style relevance: does a product fit a shopping query? Synthetic, from our own catalogue.

The paper uses Amazon's ESCI data. This domain has the same task and labels, but all queries and
products are generated from :mod:`sft_tradeoff.domains.esci.catalogue`, so a rule on facts gives the
label and no annotator is needed. Spellings of one value (cordless, wireless) are equal.

============  =======================================================================
0 Exact       same category, and every requested attribute and brand is met
1 Substitute  same category, but at least one requested attribute or brand is not met
2 Complement  another category, which the catalogue lists as used together with it
3 Irrelevant  anything else
============  =======================================================================
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sft_tradeoff.domains.base import SPLITS, Domain, Example, Score
from sft_tradeoff.domains.esci.catalogue import (
    BRANDS,
    CATEGORIES,
    COMPLEMENTS,
    DEPARTMENT_OF,
    DEPARTMENTS,
)
from sft_tradeoff.domains.esci.wording import (
    Facts,
    choose_words,
    misspell,
    product_text,
    query_text,
    reasoning,
)

if TYPE_CHECKING:
    from sft_tradeoff.domains.esci.spec import EsciSpec

LABELS = {"0": "Exact", "1": "Substitute", "2": "Complement", "3": "Irrelevant"}
BRAND_RATE = 0.25
TYPO_RATE = 0.08
MAX_DRAWS = 1000

_INSTRUCTION = (
    "Classify the product for the search query: 0 Exact (everything asked for is met), "
    "1 Substitute (right kind, but something asked for is not met), "
    "2 Complement (used together with it), 3 Irrelevant."
)
_TASK = {
    "cot": "Explain in a few sentences, then give the digit as <answer>digit</answer>.",
    "label_only": "Reply with the digit only, as <answer>digit</answer>.",
}
_TAG = re.compile(r"<\s{0,8}answer\s{0,8}>\s{0,8}([^<\s][^<\n]{0,79})", re.IGNORECASE)


def unmet(query: Facts, product: Facts) -> list[str]:
    """List the requests of a query that a product of the same category does not meet."""
    missed = [
        name
        for name, value in query["attributes"].items()
        if product["attributes"].get(name) != value
    ]
    if query["brand"] not in (None, product["brand"]):
        missed.append("brand")
    return missed


def used_together(one: str, other: str) -> bool:
    """Whether the catalogue lists two categories as complements; the relation is symmetric."""
    return frozenset((one, other)) in COMPLEMENTS


def label(query: Facts, product: Facts) -> str:
    """Apply the labeling rule of this module, the only source of labels.

    Args:
        query: The request; missing attributes and a None brand are not requested.
        product: The product, with all attributes of its category and its brand.

    Returns:
        The digit "0", "1", "2" or "3".
    """
    if query["category"] == product["category"]:
        return "1" if unmet(query, product) else "0"
    return "2" if used_together(query["category"], product["category"]) else "3"


def _draw_query(rng: random.Random, categories: Sequence[str]) -> Facts:
    category = CATEGORIES[rng.choice(categories)]
    brand = None
    if rng.random() < BRAND_RATE:
        brand = rng.choice(BRANDS[DEPARTMENT_OF[category.name]])
    n_attributes = rng.randint(1, 3 if brand is None else 2)
    asked = set(rng.sample(list(category.attributes), n_attributes))
    return Facts(
        category=category.name,
        brand=brand,
        attributes={
            name: rng.choice(list(values))
            for name, values in category.attributes.items()
            if name in asked
        },
    )


def _draw_product(rng: random.Random, category: str) -> Facts:
    attributes = CATEGORIES[category].attributes
    return Facts(
        category=category,
        brand=rng.choice(BRANDS[DEPARTMENT_OF[category]]),
        attributes={name: rng.choice(list(values)) for name, values in attributes.items()},
    )


def _exact(rng: random.Random, query: Facts) -> Facts:
    product = _draw_product(rng, query["category"])
    product["attributes"].update(query["attributes"])
    product["brand"] = query["brand"] or product["brand"]
    return product


def _substitute(rng: random.Random, query: Facts) -> Facts:
    """Miss one request (a near miss) in most cases, else several if there are several."""
    product = _exact(rng, query)
    requests = [*query["attributes"], *(["brand"] if query["brand"] else [])]
    n_missed = 1 if rng.random() < 0.5 else rng.randint(1, len(requests))
    for name in rng.sample(requests, n_missed):
        if name == "brand":
            brands = BRANDS[DEPARTMENT_OF[query["category"]]]
            product["brand"] = rng.choice([b for b in brands if b != query["brand"]])
        else:
            values = CATEGORIES[query["category"]].attributes[name]
            others = [value for value in values if value != query["attributes"][name]]
            product["attributes"][name] = rng.choice(others)
    return product


def _complement(rng: random.Random, query: Facts, categories: Sequence[str]) -> Facts:
    kinds = [other for other in categories if used_together(query["category"], other)]
    return _echo(rng, query, _draw_product(rng, rng.choice(kinds)))


def _irrelevant(rng: random.Random, query: Facts, categories: Sequence[str]) -> Facts:
    """Draw half of the products from the query's own department: the hard cases."""
    department = DEPARTMENT_OF[query["category"]]
    hard = rng.random() < 0.5
    unrelated = [
        other
        for other in categories
        if other != query["category"] and not used_together(query["category"], other)
    ]
    kinds = [other for other in unrelated if (DEPARTMENT_OF[other] == department) == hard]
    return _echo(rng, query, _draw_product(rng, rng.choice(kinds or unrelated)))


def _echo(rng: random.Random, query: Facts, product: Facts) -> Facts:
    """Copy matching brand and values from the query, so shared words do not reveal the label."""
    if rng.random() < 0.5:
        return product
    for name, value in query["attributes"].items():
        if value in CATEGORIES[product["category"]].attributes.get(name, ()):
            product["attributes"][name] = value
    if query["brand"] in BRANDS[DEPARTMENT_OF[product["category"]]]:
        product["brand"] = query["brand"]
    return product


def _draw_offer(rng: random.Random, target: str, query: Facts, categories: Sequence[str]) -> Facts:
    """Draw a product that has the label ``target`` for the query."""
    if target == "0":
        return _exact(rng, query)
    if target == "1":
        return _substitute(rng, query)
    return (_complement if target == "2" else _irrelevant)(rng, query, categories)


def _draw_example(
    rng: random.Random, target: str, variant: str, categories: Sequence[str], identifier: str
) -> Example:
    wanted = _draw_query(rng, categories)
    offered = _draw_offer(rng, target, wanted, categories)
    query, product = choose_words(rng, wanted), choose_words(rng, offered)
    correct_query = asked = query_text(rng, query)
    if rng.random() < TYPO_RATE:
        asked = misspell(rng, correct_query)
    listed = product_text(rng, product)
    answer = label(wanted, offered)
    same_category = wanted["category"] == offered["category"]
    missed = unmet(wanted, offered) if same_category else []
    response = f"<answer>{answer}</answer>"
    if variant == "cot":
        response = f"{reasoning(query, product, missed, answer)}\n{response}"
    return Example(
        id=identifier,
        prompt=f"{_INSTRUCTION}\nQuery: {asked}\nProduct: {listed}\n{_TASK[variant]}",
        response=response,
        answer=answer,
        meta={
            "label": LABELS[answer],
            "query": {"text": asked, **wanted},
            "product": {"text": listed, **offered},
            "typo": asked != correct_query,
            "rule": {
                "same_category": same_category,
                "unmet": missed,
                "used_together": used_together(wanted["category"], offered["category"]),
            },
        },
    )


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _texts(example: Example) -> set[tuple[str, str]]:
    """Keys of an example's query and product, which must not appear in another split."""
    return {(role, _words(example.meta[role]["text"])) for role in ("query", "product")}


def _draw_split(spec: EsciSpec, split: str, elsewhere: set[tuple[str, str]]) -> list[Example]:
    rng = random.Random(f"esci-{spec.seed}-{split}")
    n_examples = getattr(spec, f"n_{split}")
    categories = [
        name for name in CATEGORIES if DEPARTMENT_OF[name] in (spec.departments or DEPARTMENTS)
    ]
    targets = [str(i % len(LABELS)) for i in range(n_examples)]
    rng.shuffle(targets)
    examples: list[Example] = []
    prompts: set[str] = set()
    for index, target in enumerate(targets):
        for _ in range(MAX_DRAWS):
            identifier = f"esci-{split}-{index:05d}"
            example = _draw_example(rng, target, spec.variant, categories, identifier)
            if example.prompt not in prompts and elsewhere.isdisjoint(_texts(example)):
                break
        else:
            raise ValueError(
                f"n_{split}: {n_examples} examples requested, but the ESCI-style catalogue gave "
                f"only {index} distinct ones; use n_{split} <= {index}"
            )
        examples.append(example)
        prompts.add(example.prompt)
    return examples


def generate(spec: EsciSpec) -> dict[str, list[Example]]:
    """Build the splits; no query and no product of one split appears in another.

    Test comes first and training last, each from its own random stream, so a larger training split
    leaves the others unchanged. Labels are balanced within every split.

    Args:
        spec: Variant, sizes and seed.

    Returns:
        Split name -> examples.

    Raises:
        ValueError: If the catalogue cannot give that many distinct examples.
    """
    splits: dict[str, list[Example]] = {}
    taken: set[tuple[str, str]] = set()
    for split in reversed(SPLITS):
        splits[split] = _draw_split(spec, split, taken)
        taken.update(*map(_texts, splits[split]))
    return {split: splits[split] for split in SPLITS}


def _parse(generation: str) -> str | None:
    """Digit in the last ``<answer>``; None if it names no label or two."""
    if generation.strip() in LABELS:
        return generation.strip()
    contents = _TAG.findall(generation)
    if not contents:
        return None
    words = re.findall(r"[a-z]+|-?[0-9]+(?:[.][0-9]+)?", contents[-1].lower())
    digit_of = {name.lower(): digit for digit, name in LABELS.items()}
    digits = {digit_of.get(word, word) for word in words if word in digit_of or not word.isalpha()}
    return digits.pop() if len(digits) == 1 and digits <= LABELS.keys() else None


def score(record: Mapping[str, Any], generation: str) -> Score:
    """Grade the last ``<answer>`` of a generation; a label's name counts as its digit.

    Args:
        record: JSONL record of an example, with its gold digit under ``answer``.
        generation: What the model wrote.

    Returns:
        The grade; ``parsed`` is None unless exactly one label is given.
    """
    parsed = _parse(generation)
    return Score(correct=parsed == record["answer"], parsed=parsed)


def cluster(record: Mapping[str, Any]) -> str:
    """The query: what is asked for, in whatever words."""
    query = record["meta"]["query"]
    asked = [f"{name} {value}" for name, value in sorted(query["attributes"].items())]
    return ", ".join([query["category"], query["brand"] or "any brand", *asked])


DOMAIN = Domain(
    description=(
        "ESCI-style, synthetic: label a product for a shopping query. 0 Exact: same category and "
        "every requested attribute and brand is met (synonyms count). 1 Substitute: same category, "
        "but at least one of them is not met. 2 Complement: another category that the catalogue "
        "lists as used together with the requested one. 3 Irrelevant: anything else. About 8 % of "
        f"the queries contain a typo. {len(CATEGORIES)} categories in {len(DEPARTMENTS)} "
        "departments, fictitious brands, balanced labels. Not Amazon's ESCI data."
    ),
    source="synthetic: generated by this project from its own catalogue, after the ESCI task",
    license="Apache-2.0",
    generate=generate,
    score=score,
    max_new_tokens={"cot": 160, "label_only": 12},
    labels=tuple(LABELS),
    unit="query",
    cluster=cluster,
)
