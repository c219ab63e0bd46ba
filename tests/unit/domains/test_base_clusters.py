"""Which examples of a domain are one independent unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.registry import domain_spec, get_domain
from tests.unit.domains.hub_files import write_gsm8k, write_metamath


def clusters(examples: list[Example], name: str) -> list[str]:
    domain = get_domain(name)
    return [domain.cluster(json.loads(json.dumps(example.to_dict()))) for example in examples]


def test_medcalc_calculators_take_turns(tmp_path: Path) -> None:
    """Eight test notes of four calculators; training has the same four."""
    spec = domain_spec(
        name="medcalc", calculators=[3, 5, 6, 9], n_train=8, n_validation=0, n_test=8
    )
    test = get_domain("medcalc").generate(spec)["test"]
    found = clusters(test, "medcalc")
    assert sorted(found) == sorted(f"calculator-{i}" for i in (3, 5, 6, 9) for _ in range(2))
    write_domain(spec, tmp_path)
    card = (tmp_path / "card.md").read_text()
    assert "- **Independent unit:** calculator (4 in the test)\n" in card
    assert "\n- 8 of 8 test examples share their calculator with training.\n" in card


def test_math_templates(tmp_path: Path) -> None:
    """Every second test problem is of a template that training does not have."""
    spec = domain_spec(name="math", n_train=300, n_validation=0, n_test=40)
    splits = get_domain("math").generate(spec)
    trained, tested = (set(clusters(splits[split], "math")) for split in ("train", "test"))
    seen = {f"template-{e.meta['template']}" for e in splits["test"] if e.meta["template_seen"]}
    assert trained & tested == seen
    assert len(tested) < 40
    write_domain(spec, tmp_path)
    assert "- 20 of 40 test examples share their template" in (tmp_path / "card.md").read_text()


def test_esci_queries_are_what_is_asked_in_whatever_words() -> None:
    query = {"category": "kettle", "brand": None, "attributes": {"size": "1 l", "color": "red"}}
    asked = [
        {"id": i, "meta": {"query": {"text": text, **query, **changes}}}
        for i, text, changes in (
            ("a", "red kettle, 1 l", {}),
            ("b", "looking for a kettle", {}),
            ("c", "red kettle", {"attributes": {"color": "red"}}),
            ("d", "kettle", {"brand": "Acme"}),
        )
    ]
    found = [get_domain("esci").cluster(record) for record in asked]
    assert found[0] == found[1] == "kettle, any brand, color red, size 1 l"
    assert len(set(found)) == 3


def test_metamathqa_is_one_unit_per_question_that_it_rewrites(tmp_path: Path) -> None:
    sources = [write_metamath(tmp_path / "m"), write_gsm8k(tmp_path / "g")]
    spec = domain_spec(name="hub_metamath", n_train=99, n_validation=1, n_test=4)
    splits = get_domain("hub_metamath").generate(spec, *sources)
    rewritten = {e.id: (int(e.id[-6:]) - 1) // 2 for e in splits["train"]}
    units = dict(zip(rewritten, clusters(splits["train"], "hub_metamath"), strict=True))
    pairs = set(zip(units.values(), rewritten.values(), strict=True))
    assert len(pairs) == len(set(units.values())) == len(set(rewritten.values()))
    test = splits["test"]
    assert clusters(test, "hub_metamath") == [example.id for example in test]


PASSAGE = "The river rises in the northern hills. " * 6  # 234 characters


@pytest.mark.parametrize(
    ("rows", "units"),
    [
        pytest.param(
            [{"prompt": f"{PASSAGE}\nQuestion {i}?"} for i in range(3)], [3], id="passage"
        ),
        pytest.param(
            [{"prompt": f"{PASSAGE[:150]}\nQuestion {i}?"} for i in range(3)], [], id="short text"
        ),
        pytest.param(
            [{"prompt": f"{PASSAGE}\nQuestion {i}?"} for i in range(9)], [], id="instruction"
        ),
        pytest.param(
            [
                {"prompt": "Hello"},
                {"prompt": "And then?", "history": [["HELLO ", "hi"]]},
                {"prompt": "And now?", "history": [["hello", "hi"], ["And then?", "Then."]]},
                {"prompt": "And then?", "history": [["Good evening", "hi"]]},
            ],
            [3],
            id="conversation",
        ),
    ],
)
def test_own_lines_share_a_conversation_or_passage(
    tmp_path: Path, rows: list[dict[str, object]], units: list[int]
) -> None:
    """Beside 16 lines that stand alone; all of them are in the test."""
    alone = [{"prompt": f"What is {i}?"} for i in range(16)]
    lines = [row | {"response": f"{i}", "split": "test"} for i, row in enumerate([*rows, *alone])]
    lines.append({"prompt": "Why?", "response": "So.", "split": "train"})
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = domain_spec(name="own", path=str(path), n_validation=0, n_test=99)
    test = get_domain("own").generate(spec)["test"]
    found = clusters(test, "own")
    sizes = [found.count(unit) for unit in dict.fromkeys(found)]
    assert sorted(size for size in sizes if size > 1) == units
    assert len(test) == len(lines) - 1
    assert all(c == e.id for c, e in zip(found, test, strict=True) if found.count(c) == 1)
