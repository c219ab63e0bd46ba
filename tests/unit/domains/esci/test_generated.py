from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.domains.base import SPLITS, Example
from sft_tradeoff.domains.esci import generated as esci
from sft_tradeoff.domains.esci.catalogue import (
    BRANDS,
    CATEGORIES,
    COMPLEMENTS,
    DEPARTMENT_OF,
    DEPARTMENTS,
)
from sft_tradeoff.domains.esci.generated import DOMAIN, generate, label, score, unmet
from sft_tradeoff.domains.esci.spec import DEPARTMENT_NAMES, EsciSpec
from sft_tradeoff.domains.esci.wording import Facts
from sft_tradeoff.domains.registry import domain_spec, get_domain

SEEDS = range(4)
LABEL_NAMES = {"0": "Exact", "1": "Substitute", "2": "Complement", "3": "Irrelevant"}


def spec(**changes) -> EsciSpec:
    sizes = {"n_train": 400, "n_validation": 50, "n_test": 100}
    return domain_spec(name="esci", **{**sizes, **changes})


@pytest.fixture(scope="module")
def data() -> dict[int, dict[str, list[Example]]]:
    return {seed: generate(spec(seed=seed)) for seed in SEEDS}


@pytest.fixture(scope="module")
def examples(data) -> list[Example]:
    return [example for splits in data.values() for split in splits.values() for example in split]


# ------------------------------------------------------------------------------- the rule

CASE = Facts(
    category="phone case",
    brand="Quorvex",
    attributes={
        "protection": "slim",
        "color": "red",
        "material": "leather",
        "extra": "with kickstand",
    },
)
PHONE = Facts(
    category="smartphone",
    brand="Quorvex",
    attributes={
        "condition": "refurbished",
        "storage": "128 GB",
        "sim": "dual-SIM",
        "color": "red",
    },
)
MOUSE = Facts(
    category="computer mouse",
    brand="Quorvex",
    attributes={
        "connection": "wired",
        "click": "silent",
        "color": "black",
        "hand": "for left-handers",
    },
)


def ask(category: str, brand: str | None = None, **attributes: str) -> Facts:
    return Facts(category=category, brand=brand, attributes=attributes)


@pytest.mark.parametrize(
    ("query", "product", "expected"),
    [
        (ask("phone case", color="red"), CASE, "0"),
        (ask("phone case", "Quorvex", color="red", material="leather"), CASE, "0"),
        (ask("phone case"), CASE, "0"),
        (ask("phone case", color="black"), CASE, "1"),
        (ask("phone case", color="red", material="silicone"), CASE, "1"),
        (ask("phone case", "Tessilon", color="red"), CASE, "1"),
        (ask("phone case", "Tessilon", color="black"), CASE, "1"),
        (ask("phone case", color="red"), PHONE, "2"),
        (ask("smartphone", color="black"), CASE, "2"),
        (ask("phone case", "Quorvex", color="red"), MOUSE, "3"),
        (ask("smartphone", "Quorvex"), MOUSE, "3"),
        (ask("dog food", flavor="beef"), CASE, "3"),
    ],
)
def test_label_of_hand_derived_cases(query, product, expected):
    assert label(query, product) == expected


def test_unmet_names_attributes_and_brand():
    query = ask("phone case", "Tessilon", color="black", material="leather")
    assert unmet(query, CASE) == ["color", "brand"]


@given(data=st.data())
def test_any_subset_of_a_product_is_exact_and_any_change_a_substitute(data):
    category = CATEGORIES[data.draw(st.sampled_from(list(CATEGORIES)))]
    attributes = {
        name: data.draw(st.sampled_from(list(values)))
        for name, values in category.attributes.items()
    }
    brand = data.draw(st.sampled_from(BRANDS[DEPARTMENT_OF[category.name]]))
    product = Facts(category=category.name, brand=brand, attributes=attributes)
    asked = data.draw(st.sets(st.sampled_from(list(attributes)), min_size=1))
    query = ask(category.name, data.draw(st.sampled_from([None, brand])))
    query["attributes"] = {name: attributes[name] for name in asked}
    assert label(query, product) == "0"
    changed = data.draw(st.sampled_from(sorted(asked)))
    others = [value for value in category.attributes[changed] if value != attributes[changed]]
    query["attributes"][changed] = data.draw(st.sampled_from(others))
    assert label(query, product) == "1"
    assert unmet(query, product) == [changed]


def naive_label(query: dict, product: dict) -> str:
    if query["category"] != product["category"]:
        for pair in COMPLEMENTS:
            if query["category"] in pair and product["category"] in pair:
                return "2"
        return "3"
    for name in query["attributes"]:
        if query["attributes"][name] != product["attributes"][name]:
            return "1"
    if query["brand"] is not None and query["brand"] != product["brand"]:
        return "1"
    return "0"


def test_labels_follow_from_meta(examples):
    for example in examples:
        meta = json.loads(json.dumps(example.meta))
        assert naive_label(meta["query"], meta["product"]) == example.answer
        assert meta["label"] == LABEL_NAMES[example.answer]
        same = meta["query"]["category"] == meta["product"]["category"]
        assert meta["rule"]["same_category"] is same
        assert bool(meta["rule"]["unmet"]) is (example.answer == "1")
        if example.answer in "23":
            assert meta["rule"]["used_together"] is (example.answer == "2")


# ------------------------------------------------------------------------------- the splits


@pytest.mark.parametrize("seed", SEEDS)
def test_sizes_ids_and_balance(data, seed):
    sizes = {"train": 400, "validation": 50, "test": 100}
    assert {split: len(part) for split, part in data[seed].items()} == sizes
    assert tuple(data[seed]) == SPLITS
    for split, part in data[seed].items():
        assert [e.id for e in part] == [f"esci-{split}-{i:05d}" for i in range(len(part))]
        counts = [sum(e.answer == digit for e in part) for digit in DOMAIN.labels]
        assert max(counts) - min(counts) <= 1
        answers = [e.answer for e in part]
        assert answers not in (sorted(answers), [str(i % 4) for i in range(len(part))])


def test_empty_validation_and_odd_sizes():
    splits = generate(spec(n_train=5, n_validation=0, n_test=1))
    assert [len(splits[split]) for split in SPLITS] == [5, 0, 1]


def normal(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_query_and_no_product_in_two_splits(data, seed):
    for role in ("query", "product"):
        seen: dict[str, str] = {}
        for split, part in data[seed].items():
            for example in part:
                text = normal(example.meta[role]["text"])
                assert seen.setdefault(text, split) == split
    prompts = [e.prompt for part in data[seed].values() for e in part]
    assert len(prompts) == len(set(prompts))


def test_leakage_check_is_needed():
    """Without the check the streams would share queries, so the test above can fail."""
    splits = [esci._draw_split(spec(n_train=1000, n_test=1000), s, set()) for s in SPLITS]
    queries = [{normal(e.meta["query"]["text"]) for e in split} for split in splits]
    assert queries[0] & queries[2]


def test_test_uses_known_attribute_combinations():
    splits = generate(spec(n_train=2000))
    kinds = {
        split: [(e.meta["query"]["category"], *sorted(e.meta["query"]["attributes"])) for e in part]
        for split, part in splits.items()
    }
    known = set(kinds["train"])
    assert sum(kind in known for kind in kinds["test"]) > 0.8 * len(kinds["test"])


def test_seed_decides_everything(data):
    assert generate(spec(seed=2)) == data[2]
    assert generate(spec(seed=1))["train"] != data[2]["train"]


def test_hash_randomization_changes_nothing():
    code = (
        "from sft_tradeoff.domains.registry import domain_spec;"
        "from sft_tradeoff.domains.esci.generated import generate;"
        "print(generate(domain_spec(name='esci', n_train=40, n_validation=8, n_test=8)))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = generate(spec(n_train=40, n_validation=8, n_test=8))
    assert elsewhere.stdout == f"{here}\n"


def test_larger_train_leaves_validation_and_test_unchanged(data):
    larger = generate(spec(n_train=900))
    assert larger["test"] == data[0]["test"]
    assert larger["validation"] == data[0]["validation"]


def test_variants_share_their_questions(data):
    short = generate(spec(variant="label_only"))
    for split in SPLITS:
        for one, other in zip(data[0][split], short[split], strict=True):
            assert (one.id, one.answer, one.meta) == (other.id, other.answer, other.meta)
            assert other.response == f"<answer>{other.answer}</answer>"
            assert one.response.endswith(f"\n{other.response}")


def test_exhausted_catalogue_names_field_and_maximum(monkeypatch):
    example = generate(spec(n_train=1))["train"][0]
    monkeypatch.setattr(esci, "_draw_example", lambda *_: example)
    with pytest.raises(ValueError, match=r"n_test: 2 .* use n_test <= 1"):
        generate(spec(n_test=2))


# ------------------------------------------------------------------------------- the texts


@pytest.mark.parametrize("seed", SEEDS)
def test_some_queries_have_a_typo(seed):
    part = generate(spec(seed=seed, n_train=500))["train"]
    assert 0.04 * 500 <= sum(e.meta["typo"] for e in part) <= 0.14 * 500


def test_substitutes_have_near_and_far_misses(examples):
    missed = [len(e.meta["rule"]["unmet"]) for e in examples if e.answer == "1"]
    assert 0.5 < missed.count(1) / len(missed) < 0.95
    assert max(missed) >= 2
    assert any("brand" in e.meta["rule"]["unmet"] for e in examples)


def test_irrelevant_products_are_hard_and_easy(examples):
    irrelevant = [e.meta for e in examples if e.answer == "3"]
    hard = [
        m
        for m in irrelevant
        if DEPARTMENT_OF[m["query"]["category"]] == DEPARTMENT_OF[m["product"]["category"]]
    ]
    assert 0.35 < len(hard) / len(irrelevant) < 0.65
    branded = [m for m in hard if m["query"]["brand"]]
    same_brand = [m for m in branded if m["query"]["brand"] == m["product"]["brand"]]
    assert len(same_brand) > 0.4 * len(branded)  # about 0.2 by chance
    assert any(m["query"]["attributes"].items() & m["product"]["attributes"].items() for m in hard)


# ------------------------------------------------------------------------------- the score


@pytest.mark.parametrize("variant", EsciSpec.variants())
def test_gold_is_right_and_everything_else_wrong(variant):
    for split in generate(spec(variant=variant, n_train=80)).values():
        for example in split:
            record = example.to_dict()
            grade = score(record, example.response)
            assert grade.correct
            assert grade.parsed == example.answer
            for digit in set(DOMAIN.labels) - {example.answer}:
                wrong = example.response.replace(f">{example.answer}<", f">{digit}<")
                assert not score(record, wrong).correct
                assert score(record, wrong).parsed == digit


@pytest.mark.parametrize(
    ("generation", "parsed"),
    [
        ("<answer>2</answer>", "2"),
        ("reason <answer> 2 </answer> more", "2"),
        ("<answer>\n2\n</answer>", "2"),
        ("<Answer>2", "2"),
        ("<answer>2</answer> no, <answer>3</answer>", "3"),
        ("<answer>2</answer><answer>", "2"),
        ("<answer>Exact</answer>", "0"),
        ("<answer>COMPLEMENT</answer>", "2"),
        ("<answer>1 (Substitute)</answer>", "1"),
        ("<answer>2.</answer>", "2"),
        (" 3 \n", "3"),
        ("<answer>1 or 2</answer>", None),
        ("<answer>1 (Complement)</answer>", None),
        ("<answer>4</answer>", None),
        ("<answer>12</answer>", None),
        ("<answer>-1</answer>", None),
        ("<answer>2.5</answer>", None),
        ("<answer></answer>", None),
        ("<answer>maybe</answer>", None),
        ("<answer>digit</answer>", None),
        ("The answer is 2", None),
        ("4", None),
        ("", None),
    ],
)
def test_parsing(generation, parsed):
    grade = score({"answer": "2"}, generation)
    assert grade.parsed == parsed
    assert grade.correct is (parsed == "2")
    assert grade.format_failure is (parsed is None)


@settings(max_examples=50)
@given(st.text(max_size=100))
def test_any_text_is_graded(text):
    for generation in (text, f"<answer>{text}", f"{text}<answer>1</answer>"):
        assert score({"answer": "1"}, generation).parsed in (None, *DOMAIN.labels)


@pytest.mark.parametrize(
    "generation",
    [
        "<answer>" * 100_000,
        "<answer>" + " " * 1_000_000 + "2",
        "< " * 500_000,
        "<answer>" + "9" * 1_000_000,
        "<answer>__import__('os').abort()</answer>",
        "\x00\ud800<answer>２</answer>",
    ],
)
def test_hostile_generations_are_harmless_and_fast(generation):
    start = time.process_time()
    assert score({"answer": "2"}, generation).parsed is None
    assert time.process_time() - start < 10  # quadratic would take hours


def test_domain_card():
    assert get_domain("esci") is DOMAIN
    assert DOMAIN.labels == ("0", "1", "2", "3")
    assert "synthetic" in DOMAIN.description
    assert "synthetic" in DOMAIN.source


@pytest.mark.parametrize("department", DEPARTMENTS)
def test_one_department_is_a_domain(department: str) -> None:
    """All four labels, and nothing from elsewhere."""
    splits = generate(spec(departments=(department,), n_train=80, n_validation=8, n_test=20))
    found = [example for split in splits.values() for example in split]
    kinds = {example.meta[role]["category"] for example in found for role in ("query", "product")}
    assert {DEPARTMENT_OF[kind] for kind in kinds} == {department}
    assert {example.answer for example in found} == set(LABEL_NAMES)
    assert all(example.answer == label_of(example) for example in found)


def label_of(example: Example) -> str:
    facts = (example.meta[role] for role in ("query", "product"))
    return label(*(Facts(**{key: fact[key] for key in Facts.__annotations__}) for fact in facts))


def test_all_departments_are_the_default() -> None:
    assert list(DEPARTMENT_NAMES) == list(DEPARTMENTS)
    assert generate(spec(departments=DEPARTMENT_NAMES)) == generate(spec())


def test_departments_are_known_and_named_once() -> None:
    with pytest.raises(ValueError, match=r"'garden' is not one of the departments .* remove it"):
        spec(departments=("kitchen", "garden"))
    with pytest.raises(ValueError, match="'kitchen' stands there twice; remove one"):
        spec(departments=("kitchen", "kitchen"))
