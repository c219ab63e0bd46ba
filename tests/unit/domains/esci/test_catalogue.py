from __future__ import annotations

import pytest

from sft_tradeoff.domains.esci.catalogue import (
    BRANDS,
    CATEGORIES,
    COMPLEMENTS,
    DEPARTMENT_OF,
    DEPARTMENTS,
)
from sft_tradeoff.domains.esci.generated import used_together


def test_catalogue_is_large_enough():
    assert len(CATEGORIES) >= 30
    assert len(DEPARTMENTS) >= 6
    assert sum(map(len, DEPARTMENTS.values())) == len(CATEGORIES)
    assert DEPARTMENTS.keys() == BRANDS.keys()


@pytest.mark.parametrize("name", CATEGORIES)
def test_category_is_complete_and_unambiguous(name):
    attributes = CATEGORIES[name].attributes
    assert 4 <= len(attributes) <= 8
    assert all(len(values) >= 2 for values in attributes.values())
    spellings = [s for values in attributes.values() for forms in values.values() for s in forms]
    assert len(spellings) == len(set(spellings)), "a spelling stands for two values"
    assert len(spellings) > sum(map(len, attributes.values())), "no synonyms"
    assert all(spelling == spelling.strip() != "" for spelling in spellings)


@pytest.mark.parametrize("name", CATEGORIES)
def test_category_has_complements_and_hard_irrelevant_neighbors(name):
    assert any(used_together(name, other) for other in CATEGORIES)
    neighbours = {c.name for c in DEPARTMENTS[DEPARTMENT_OF[name]]} - {name}
    assert any(not used_together(name, other) for other in neighbours)


def test_names_brands_and_complements_are_consistent():
    names = [name for category in CATEGORIES.values() for name in category.names]
    assert len(names) == len(set(names))
    brands = [brand for group in BRANDS.values() for brand in group]
    assert len(brands) == len(set(brands))
    assert all(len(pair) == 2 and pair <= CATEGORIES.keys() for pair in COMPLEMENTS)
