"""Generated MedCalc data: correct targets, and no prompt or patient twice."""

from __future__ import annotations

import random
import re
import statistics
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.medcalc import generated as medcalc
from sft_tradeoff.domains.medcalc.calculators import Calculator
from sft_tradeoff.domains.medcalc.generated import CALCULATORS, generate
from sft_tradeoff.domains.medcalc.grading import score
from sft_tradeoff.domains.medcalc.patients import Case, Patient
from sft_tradeoff.domains.medcalc.spec import CALCULATOR_IDS
from sft_tradeoff.domains.registry import domain_spec, get_domain
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.grading.text import normalize


def spec(variant: str = "cot", seed: int = 0, **sizes: int) -> DomainSpec:
    settings = {"n_train": 93, "n_validation": 31, "n_test": 62, **sizes}
    return domain_spec(name="medcalc", variant=variant, seed=seed, **settings)


def test_same_spec_same_data_other_seed_other_data() -> None:
    assert generate(spec()) == generate(spec())
    assert generate(spec())["test"] != generate(spec(seed=1))["test"]


def test_a_new_process_makes_the_same_data() -> None:
    code = (
        "from sft_tradeoff.domains.medcalc.generated import generate\n"
        "from sft_tradeoff.domains.registry import domain_spec\n"
        "s = domain_spec(name='medcalc', n_train=40, n_validation=2, n_test=2)\n"
        "print(generate(s)['train'][39].prompt)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = generate(spec(n_train=40, n_validation=2, n_test=2))["train"][39]
    assert made.stdout == here.prompt + "\n"


@pytest.mark.parametrize("seed", [0, 1, 7, 2024])
def test_no_prompt_twice_within_or_across_splits(seed: int) -> None:
    splits = generate(spec(seed=seed, n_train=400))
    prompts = [normalize(example.prompt) for split in splits.values() for example in split]
    assert len(set(prompts)) == len(prompts) == 400 + 31 + 62


def test_no_patient_twice_in_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = Counter[str]()

    def few(rng: random.Random) -> Case:
        case = original.draw(rng)
        patient = Patient("Female", rng.choice((30, 31, 32)))
        return replace(case, patient=patient, inputs={**case.inputs}, facts=case.facts)

    original = next(c for c in CALCULATORS if c.id == 33)  # 32 combinations of findings
    monkeypatch.setattr(medcalc, "CALCULATORS", (replace(original, draw=few),))
    recorded = medcalc._patient_key

    def spy(calculator: Calculator, case: Case) -> str:
        draws[recorded(calculator, case)] += 1
        return recorded(calculator, case)

    monkeypatch.setattr(medcalc, "_patient_key", spy)
    splits = generate(spec(n_train=40, n_validation=10, n_test=10))
    assert sum(map(len, splits.values())) == 60
    assert len(draws) >= 60
    with pytest.raises(ValueError, match=r"n_train: 90 is too many.*FeverPAIN.*lower it"):
        generate(spec(n_train=90, n_validation=3, n_test=4))  # 97 > 96 patients


def test_a_longer_training_split_changes_nothing_else() -> None:
    short, long = generate(spec(n_train=50)), generate(spec(n_train=200))
    assert short["test"] == long["test"] and short["validation"] == long["validation"]
    assert short["train"] == long["train"][:50]


def test_sizes_ids_and_balance() -> None:
    splits = generate(spec(n_train=100, n_validation=0, n_test=33))
    assert list(splits) == ["train", "validation", "test"]
    assert [len(split) for split in splits.values()] == [100, 0, 33]
    assert splits["train"][12].id == "medcalc-train-00012"
    counts = Counter(example.meta["calculator_id"] for example in splits["train"])
    assert len(counts) == len(CALCULATORS) and max(counts.values()) - min(counts.values()) == 1
    order = [example.meta["calculator_id"] for example in splits["train"]]
    assert order[:31] != order[31:62]


def test_variants_ask_about_the_same_patients() -> None:
    cot, label = generate(spec("cot"))["train"], generate(spec("label_only"))["train"]
    for worked, short in zip(cot, label, strict=True):
        assert worked.response.endswith(f"\n{short.response}")
        assert short.response == f"Final answer: {short.answer}"
        assert worked.prompt.rsplit("\n\n", 1)[0] == short.prompt.rsplit("\n\n", 1)[0]
        assert "Final answer:" in worked.prompt and "Final answer:" in short.prompt


def test_examples_are_short_enough_for_a_small_model() -> None:
    for variant, budget in get_domain("medcalc").max_new_tokens.items():
        train = generate(spec(variant))["train"]
        assert statistics.median(len(e.prompt + e.response) for e in train) <= 1100
        # Words take about four characters a token, numbers fewer than two.
        assert max(len(re.findall(r"[A-Za-z]+|\S", e.response)) for e in train) <= budget


def wrong(example: Example) -> str:
    """An answer just outside the accepted range."""
    kind, answer = example.meta["output_type"], example.answer
    if kind == "date":
        next_day = datetime.strptime(answer, "%m/%d/%Y") + timedelta(days=1)
        return next_day.strftime("%m/%d/%Y")
    if kind == "weeks_days":
        weeks, days = map(int, re.findall(r"\d+", answer))
        return f"{weeks} weeks, {(days + 1) % 7} days"
    if kind == "integer":
        return str(int(answer) + 1)
    return str(float(answer) * 1.051 + 1e-3)


@pytest.mark.parametrize("variant", ["cot", "label_only"])
def test_the_target_is_right_and_a_near_miss_is_wrong(variant: str) -> None:
    splits = generate(spec(variant))
    assert {e.meta["calculator_id"] for e in splits["test"]} == {
        calculator.id for calculator in CALCULATORS
    }
    for example in splits["train"] + splits["test"]:
        line = example.to_dict()
        assert score(line, example.response).correct, example
        missed = example.response.replace(
            f"Final answer: {example.answer}", f"Final answer: {wrong(example)}"
        )
        grade = score(line, missed)
        assert not grade.correct and not grade.format_failure, missed


def test_domain_is_found_by_name() -> None:
    domain = get_domain("medcalc")
    assert domain.score is score and domain.generate is generate


def test_a_study_can_choose_calculators():
    spec = domain_spec(name="medcalc", calculators=(5, 69), n_train=6, n_validation=2, n_test=4)
    generate = get_domain("medcalc").generate
    found = {e.meta["calculator_id"] for split in generate(spec).values() for e in split}
    assert found == {5, 69}
    with pytest.raises(ValueError, match=r"4 is not one of the supported ids .* remove it"):
        domain_spec(name="medcalc", calculators=(5, 4))
    assert list(CALCULATOR_IDS) == sorted(calculator.id for calculator in CALCULATORS)
