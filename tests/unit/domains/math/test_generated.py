from __future__ import annotations

import ast
import operator
import os
import re
import subprocess
import sys
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.domains.base import SPLITS, Example
from sft_tradeoff.domains.math import generated as math
from sft_tradeoff.domains.math.generated import (
    DOMAIN,
    FLAGGED,
    REJECTED,
    TEST_ONLY,
    TRAINED,
    generate,
    score,
)
from sft_tradeoff.domains.math.spec import MathSpec
from sft_tradeoff.domains.registry import domain_spec, get_domain

SEEDS = range(3)


def spec(**changes) -> MathSpec:
    sizes = {"n_train": 300, "n_validation": 50, "n_test": 101}
    return domain_spec(name="math", **{**sizes, **changes})


@pytest.fixture(scope="module")
def data() -> dict[int, dict[str, list[Example]]]:
    return {seed: generate(spec(seed=seed)) for seed in SEEDS}


@pytest.fixture(scope="module")
def examples(data) -> list[Example]:
    return [example for splits in data.values() for split in splits.values() for example in split]


# ------------------------------------------------------------------------------- templates


def test_flagged_templates_are_those_of_the_package():
    from reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic import tasks_need_fix

    assert frozenset(tasks_need_fix) == FLAGGED
    assert len(FLAGGED) == 15


def test_every_template_has_one_place():
    parts = [FLAGGED, set(REJECTED), TEST_ONLY, set(TRAINED)]
    assert sum(map(len, parts)) == 100
    assert set().union(*parts) == set(range(100))
    assert 0.15 < len(TEST_ONLY) / (len(TEST_ONLY) + len(TRAINED)) < 0.25


@pytest.mark.parametrize("seed", SEEDS)
def test_templates_of_each_split(data, seed):
    for split in ("train", "validation"):
        assert {e.meta["template"] for e in data[seed][split]} <= set(TRAINED)
        assert all(e.meta["template_seen"] for e in data[seed][split])
    seen = [e.meta["template"] for e in data[seed]["test"] if e.meta["template_seen"]]
    unseen = [e.meta["template"] for e in data[seed]["test"] if not e.meta["template_seen"]]
    assert (len(seen), len(unseen)) == (51, 50)
    assert set(seen) <= set(TRAINED)
    assert set(unseen) == TEST_ONLY


def test_training_covers_all_its_templates(data):
    assert {e.meta["template"] for e in data[0]["train"]} == set(TRAINED)


def test_package_is_imported_only_when_needed():
    code = (
        "import sys; import sft_tradeoff.domains.math.generated;"
        "sys.exit(any(name.startswith('reasoning_gym') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ------------------------------------------------------------------------------- the splits


@pytest.mark.parametrize("seed", SEEDS)
def test_sizes_and_ids(data, seed):
    assert tuple(data[seed]) == SPLITS
    assert [len(data[seed][split]) for split in SPLITS] == [300, 50, 101]
    for split, part in data[seed].items():
        assert [e.id for e in part] == [f"math-{split}-{i:05d}" for i in range(len(part))]


def test_empty_validation():
    splits = generate(spec(n_train=3, n_validation=0, n_test=1))
    assert [len(splits[split]) for split in SPLITS] == [3, 0, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_problem_in_two_splits(data, seed):
    prompts = [e.prompt for part in data[seed].values() for e in part]
    assert len(prompts) == len(set(prompts))
    seen: dict[tuple, str] = {}
    for split, part in data[seed].items():
        for e in part:
            numbers = (e.meta["template"], *re.findall(r"\d[\d.,]*", e.prompt.rsplit("\n", 1)[0]))
            assert seen.setdefault(numbers, split) == split


def test_leakage_check_is_needed():
    """Without the check the streams would share numbers, so the test above can fail."""
    templates = math._templates()
    train, _, test = (
        math._draw_split(spec(n_train=600, n_test=600), split, templates, set()) for split in SPLITS
    )
    assert set(map(math._signature, train)) & set(map(math._signature, test))


def test_seed_decides_everything(data):
    assert generate(spec(seed=2)) == data[2]
    assert data[1]["train"] != data[2]["train"]


def test_hash_randomization_changes_nothing():
    code = (
        "from sft_tradeoff.domains.registry import domain_spec;"
        "from sft_tradeoff.domains.math.generated import generate;"
        "print(generate(domain_spec(name='math', n_train=40, n_validation=8, n_test=8)))"
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
    larger = generate(spec(n_train=700))
    assert larger["test"] == data[0]["test"]
    assert larger["validation"] == data[0]["validation"]


def test_variants_share_their_questions(data):
    short = generate(spec(variant="label_only"))
    for split in SPLITS:
        for one, other in zip(data[0][split], short[split], strict=True):
            assert (one.id, one.answer, one.meta) == (other.id, other.answer, other.meta)
            assert other.response == f"#### {other.answer}"
            assert one.response.endswith(f"\n{other.response}")


def test_exhausted_templates_name_field_and_maximum(monkeypatch):
    problem = ("How many?", "One.", "1")
    monkeypatch.setattr(math, "_draw_problem", lambda *_: problem)
    with pytest.raises(ValueError, match=r"n_test: 3 .* use n_test <= 1"):
        generate(spec(n_test=3))


def test_problems_that_are_not_whole_or_read_badly_are_refused():
    def template(answer: str, text: str = "She has 2 cookies."):
        return lambda *_: {"question": text, "answer": answer, "metadata": {"answer_cot": text}}

    assert math._draw_problem(template("7"), None) == ("She has 2 cookies.",) * 2 + ("7",)
    assert math._draw_problem(template("7.0"), None)[2] == "7"
    assert math._draw_problem(template("-1"), None) is None
    assert math._draw_problem(template("2.5"), None) is None
    assert math._draw_problem(template("1", "She has 1 cookies."), None) is None
    assert math._draw_problem(template("1", "She has 21 cookies."), None) is not None


# ------------------------------------------------------------------------------- the texts

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def value(expression: str) -> Fraction:
    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        assert isinstance(node, ast.Constant)
        return Fraction(str(node.value))

    return walk(ast.parse(expression, mode="eval").body)


def equations(text: str) -> list[tuple[str, str]]:
    """Arithmetic on both sides of every ``=``, without units, names and unknowns."""
    found = []
    for line in text.splitlines():
        line = re.sub(r"(?<=\d),(?=\d{3})|[$£€]", "", line)
        line = (
            re.sub(r"(?<=[\d ])[x×](?=[ \d])", "*", line).replace("÷", "/").replace("half", "0.5")
        )
        line = re.sub(r"(\d+(?:\.\d+)?)%", r"(\1/100)", line)
        line = re.sub(r"(\d)\((?=\d+\))", r"\1*(", line)
        line = re.sub(r"/ ?[A-Za-z]+|[A-Za-z']+", " ", re.sub(r"\d[xy]\b", "x", line))
        number = r"\(?[\d.]+(?:/100)?\)?"
        sides = rf"({number}(?: *[-+*/] *{number})+) *= *({number})"
        found += re.findall(sides, line)
    return [(re.sub(" +", " ", left), right.rstrip(".")) for left, right in found]


def test_equations_are_found_and_evaluated():
    assert equations("So 2 cups * 3 g/cup = 7 g, and 2(5)=10.") == [
        ("2 * 3", "7"),
        ("2*(5)", "10"),
    ]
    assert value("2 * 3 + (50/100)") == Fraction(13, 2)


def test_arithmetic_of_the_reasoning_is_true(examples):
    checked: dict[int, int] = {}
    for example in examples:
        for left, right in equations(example_reasoning(example)):
            assert value(left) == value(right), (example.meta["template"], left, right)
            template = example.meta["template"]
            checked[template] = checked.get(template, 0) + 1
    # 83 is algebra with x and y only.
    assert {*TRAINED, *TEST_ONLY} - checked.keys() <= {83}
    assert sum(checked.values()) > 2 * len(examples)


def example_reasoning(example: Example) -> str:
    return example.response.rsplit("\n####", 1)[0]


def test_reasoning_ends_with_the_answer(examples):
    for example in examples:
        last = example_reasoning(example).splitlines()[-1].replace(",", "")
        assert example.answer in re.findall(r"\d+", last), example.response


def test_texts_read_well(examples):
    for example in examples:
        text = f"{example.prompt}\n{example.response}"
        assert "####" not in example_reasoning(example)
        assert not re.search(r"\d\.0\b|\d\.\d{3}|\b1 [a-rt-z]\w*s\b|peachs|-\d+ years", text), text
        assert not re.search(r"\b[Aa] [aeiou8]|\b[Aa]n [bcdfgjkmnpqstvwxyz1-79]\b", text), text
        assert not re.search(r"(?:^|[.?!] )[a-z]{2}", text, re.MULTILINE), text
        assert re.fullmatch(r"\d+", example.answer)
        assert example.meta["question"] in example.prompt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.0 cups and 3.05 g, 4.0.", "12 cups and 3.05 g, 4."),
        ("She took a apartment.", "She took an apartment."),
        ("An tax and an hour.", "A tax and an hour."),
        ("a 8-sided die, a 18 and a 180", "An 8-sided die, an 18 and a 180"),
        ("Green. red balls\nblue balls", "Green. Red balls\nBlue balls"),
        ("One\n\n   • two  ", "One\n• two"),
    ],
)
def test_cleaning(text, expected):
    assert math._clean(text) == expected


# ------------------------------------------------------------------------------- the score


@pytest.mark.parametrize("variant", MathSpec.variants())
def test_gold_is_right_and_everything_else_wrong(variant):
    for split in generate(spec(variant=variant)).values():
        for example in split:
            record = example.to_dict()
            grade = score(record, example.response)
            assert grade.correct
            assert grade.parsed == example.answer
            for other in (int(example.answer) + 1, -int(example.answer) - 1, 10**12):
                wrong = re.sub(r"#### .*", f"#### {other}", example.response)
                assert not score(record, wrong).correct
                assert score(record, wrong).parsed == str(other)


@pytest.mark.parametrize(
    ("generation", "parsed"),
    [
        ("3 + 4 = 7\n#### 7", "7"),
        ("####7", "7"),
        ("#### $1,234.50", "1234.5"),
        ("#### 12 eggs for 3 people", "12"),
        ("#### 45%", "45"),
        ("#### **18**", "18"),
        ("#### -5", "-5"),
        ("#### −5", "-5"),
        ("#### 5\n#### 6", "6"),
        ("#### 5\n#### none", "5"),
        ("####\n42", "42"),
        ("#### 45.0", "45"),
        ("The answer is 8.", "8"),
        ("8 or rather 9 apples", "9"),
        ("#### nothing", None),
        ("#### nan", None),
        ("#### inf", None),
        ("no idea", None),
        ("", None),
    ],
)
def test_parsing(generation, parsed):
    grade = score({"answer": "7"}, generation)
    assert grade.parsed == parsed
    assert grade.correct is (parsed == "7")
    assert grade.format_failure is (parsed is None)


@pytest.mark.parametrize(("shift", "correct"), [("0000004", True), ("00001", False)])
def test_tolerance(shift, correct):
    assert score({"answer": "7"}, f"#### 7.{shift}").correct is correct


@settings(max_examples=50)
@given(st.text(max_size=100))
def test_any_text_is_graded(text):
    score({"answer": "1"}, text)
    assert score({"answer": "1"}, f"{text}\n#### 1").correct


@pytest.mark.parametrize(
    "generation",
    [
        "#" * 500_000,
        "#### " * 100_000,
        "#### " + "9" * 1_000_000,
        "1," * 500_000 + "111,",
        "#### " + "111," * 250_000 + "1111",
        "#### __import__('os').abort()",
        "\x00\ud800#### ",
    ],
)
def test_hostile_generations_are_harmless_and_fast(generation):
    start = time.process_time()
    assert not score({"answer": "7"}, generation).correct
    assert time.process_time() - start < 10  # quadratic would take hours


def test_domain_card():
    assert get_domain("math") is DOMAIN
    assert "synthetic" in DOMAIN.source
