"""MedCalc: the data is right, without leakage and readable; grading follows the benchmark."""

from __future__ import annotations

import math
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.medcalc import generated as medcalc
from sft_tradeoff.domains.medcalc.calculators import Calculator
from sft_tradeoff.domains.medcalc.generated import CALCULATORS, generate
from sft_tradeoff.domains.medcalc.grading import limits, score
from sft_tradeoff.domains.medcalc.patients import Case, Measure, Patient, write_note
from sft_tradeoff.domains.registry import domain_spec, get_domain
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.grading.text import normalize

DRAWS = 40
Inputs = Mapping[str, Any]


def spec(variant: str = "cot", seed: int = 0, **sizes: int) -> DomainSpec:
    settings = {"n_train": 93, "n_validation": 31, "n_test": 62, **sizes}
    return domain_spec(name="medcalc", variant=variant, seed=seed, **settings)


def record(output_type: str, answer: str, **meta: Any) -> dict[str, Any]:
    return {"answer": answer, "meta": {"output_type": output_type, **meta}}


def decimal(truth: float) -> dict[str, Any]:
    lower, upper = limits(truth)
    return record("decimal", str(truth), lower_limit=lower, upper_limit=upper)


def drawn(calculator: Calculator) -> Iterator[tuple[random.Random, Case, str, str]]:
    """Cases of one calculator, with explanation and answer."""
    for i in range(DRAWS):
        rng = random.Random(f"{calculator.id} {i}")
        case = calculator.draw(rng)
        yield rng, case, *calculator.explain(case)


# --- The answers, computed here from the published formulas --------------------------------


def kg(inputs: Inputs) -> float:
    value, unit = inputs["weight"]
    return value * {"kg": 1, "lbs": 0.45359237}[unit]


def cm(inputs: Inputs) -> float:
    height = inputs["height"]
    if len(height) == 4:
        return (height[0] * 12 + height[2]) * 2.54
    return height[0] * {"cm": 1, "m": 100, "in": 2.54}[height[1]]


def first(name: str) -> Callable[[Inputs], Any]:
    return lambda inputs: inputs[name][0]


sodium, chloride, bicarbonate = first("sodium"), first("chloride"), first("bicarbonate")
albumin, creatinine, glucose = first("albumin"), first("creatinine"), first("glucose")
age, heart_rate, qt = first("age"), first("heart_rate"), first("qt_interval")
REFERENCE_DOSE_MG = {  # equivalent to 0.75 mg of dexamethasone
    "cortisone": 25,
    "dexamethasone": 0.75,
    "hydrocortisone": 20,
    "methylprednisolone": 4,
    "prednisolone": 5,
    "prednisone": 5,
    "triamcinolone": 4,
}
MORPHINE_FACTORS = {
    "codeine": 0.15,
    "hydrocodone": 1,
    "hydromorphone": 5,
    "methadone": 4.7,
    "morphine": 1,
    "oxycodone": 1.5,
    "oxymorphone": 3,
    "tapentadol": 0.4,
    "tramadol": 0.2,
}


def ckd_epi(i: Inputs) -> float:
    woman = i["sex"] == "Female"
    kappa, alpha = (0.7, -0.241) if woman else (0.9, -0.302)
    ratio = creatinine(i) / kappa
    shape = min(ratio, 1) ** alpha * max(ratio, 1) ** -1.2
    return 142 * shape * 0.9938 ** age(i) * (1.012 if woman else 1)


def mdrd(i: Inputs) -> float:
    women = 0.742 if i["sex"] == "Female" else 1
    return 175 * creatinine(i) ** -1.154 * age(i) ** -0.203 * women


def ideal_weight(i: Inputs) -> float:
    return (50 if i["sex"] == "Male" else 45.5) + 2.3 * (cm(i) / 2.54 - 60)


def adjusted_weight(i: Inputs) -> float:
    return ideal_weight(i) + 0.4 * (kg(i) - ideal_weight(i))


def child_pugh(i: Inputs) -> int:
    bilirubin = i["bilirubin"][0]
    return (
        (1 if bilirubin < 2 else 2 if bilirubin <= 3 else 3)
        + (1 if albumin(i) > 3.5 else 2 if albumin(i) >= 2.8 else 3)
        + (1 if i["inr"] < 1.7 else 2 if i["inr"] <= 2.3 else 3)
        + {"Absent": 1, "Slight": 2, "Moderate": 3}[i["ascites"]]
        + {"No Encephalopathy": 1, "Grade 1-2": 2, "Grade 3-4": 3}[i["encephalopathy"]]
    )


def cardiac_risk(i: Inputs) -> int:
    flags = [value for value in i.values() if isinstance(value, bool)]
    return sum(flags) + (i["pre_operative_creatinine"][0] > 2)


def centor(i: Inputs) -> int:
    value, unit = i["temperature"]
    celsius = value if unit == "degrees celsius" else (value - 32) * 5 / 9
    by_age = 1 if age(i) <= 14 else 0 if age(i) < 45 else -1
    signs = i["exudate_swelling_tonsils"] + i["tender_lymph_nodes"] + i["cough_absent"]
    return by_age + signs + (celsius > 38)


def maintenance_fluid(i: Inputs) -> float:
    return 4 * min(kg(i), 10) + 2 * max(min(kg(i) - 10, 10), 0) + max(kg(i) - 20, 0)


def coma_scale(i: Inputs) -> int:
    eyes = ["no eye opening", "eye opening to pain", "eye opening to verbal command"]
    speech = ["no verbal response", "incomprehensible sounds", "inappropriate words", "confused"]
    motor = ["no motor", "extension", "flexion", "withdrawal", "localizes"]
    found = [
        [text for text in names if i[key].startswith(text)]
        for key, names in (
            ("best_eye_response", eyes),
            ("best_verbal_response", speech),
            ("best_motor_response", motor),
        )
    ]
    ranks = [
        names.index(match[0]) + 1 if match else len(names) + 1
        for names, match in zip((eyes, speech, motor), found, strict=True)
    ]
    return sum(ranks)


def steroid(i: Inputs) -> float:
    name, dose, _ = i["input steroid"]
    to, given = (x.split()[0].lower() for x in (i["target steroid"], name))
    return dose * REFERENCE_DOSE_MG[to] / REFERENCE_DOSE_MG[given]


def water_deficit(i: Inputs) -> float:
    share = {"Male": (0.6, 0.5), "Female": (0.5, 0.45)}[i["sex"]][age(i) >= 65]
    return share * kg(i) * (sodium(i) / 140 - 1)


def anion_gap(i: Inputs) -> float:
    return sodium(i) - chloride(i) - bicarbonate(i)


def morphine(i: Inputs) -> float:
    (name, (dose, _)), (_, (times, _)) = i.items()
    return MORPHINE_FACTORS[name.removesuffix(" Dose").lower()] * dose * times


def period(i: Inputs) -> date:
    return datetime.strptime(i["menstrual_date"], "%m/%d/%Y").date()


def pregnancy(i: Inputs) -> str:
    days = (datetime.strptime(i["current_date"], "%m/%d/%Y").date() - period(i)).days
    return f"{days // 7} weeks, {days % 7} day{'s' * (days % 7 != 1)}"


def on(day: date) -> str:
    return day.strftime("%m/%d/%Y")


REFERENCE: dict[int, Callable[[Inputs], float | str]] = {
    3: ckd_epi,
    5: lambda i: (i["sys_bp"][0] + 2 * i["dia_bp"][0]) / 3,
    6: lambda i: kg(i) / (cm(i) / 100) ** 2,
    7: lambda i: i["calcium"][0] + 0.8 * (4 - albumin(i)),
    9: mdrd,
    10: ideal_weight,
    11: lambda i: qt(i) / math.sqrt(60 / heart_rate(i)),
    13: lambda i: on(period(i) + timedelta(days=280 + i["cycle_length"] - 28)),
    15: child_pugh,
    17: cardiac_risk,
    19: lambda i: age(i) * i["ast"][0] / (i["platelet_count"][0] / 1000 * math.sqrt(i["alt"][0])),
    20: centor,
    21: coma_scale,
    22: maintenance_fluid,
    24: steroid,
    26: lambda i: sodium(i) + 0.024 * (glucose(i) - 100),
    31: lambda i: i["insulin"][0] * glucose(i) / 405,
    33: lambda i: sum(i.values()),
    38: water_deficit,
    39: anion_gap,
    40: lambda i: (
        100 * i["urine_sodium"][0] * creatinine(i) / (sodium(i) * i["urine_creatinine"][0])
    ),
    44: lambda i: i["total_cholestrol"][0] - i["hdl_cholestrol"][0] - i["triglycerides"][0] / 5,
    49: morphine,
    58: lambda i: qt(i) + 1.75 * (heart_rate(i) - 60),
    59: lambda i: qt(i) * (120 + heart_rate(i)) / 180,
    60: lambda i: math.sqrt(kg(i) * cm(i) / 3600),
    62: adjusted_weight,
    63: lambda i: anion_gap(i) - 12,
    65: lambda i: anion_gap(i) + 2.5 * (4 - albumin(i)),
    68: lambda i: on(period(i) + timedelta(days=14)),
    69: pregnancy,
}
each_calculator = pytest.mark.parametrize("calculator", CALCULATORS, ids=lambda c: str(c.id))


def test_at_least_24_calculators_of_all_output_types_and_no_name_twice() -> None:
    assert len(CALCULATORS) >= 24
    assert len({c.id for c in CALCULATORS}) == len({c.name for c in CALCULATORS})
    types = {c.output_type for c in CALCULATORS}
    assert types == {"integer", "decimal", "date", "weeks_days"}
    assert {c.id for c in CALCULATORS} == set(REFERENCE)


@each_calculator
def test_answers_agree_with_the_published_formula(calculator: Calculator) -> None:
    for _, case, _, answer in drawn(calculator):
        expected = REFERENCE[calculator.id](case.inputs)
        if calculator.output_type == "decimal":
            # The package rounds intermediate results to three decimals: the steroid factors too.
            rounding = 0.015 if calculator.id == 24 else 0.002
            assert float(answer) == pytest.approx(expected, rel=rounding, abs=0.002), case
        else:
            assert answer == str(expected), case


@each_calculator
def test_explanation_ends_in_the_answer(calculator: Calculator) -> None:
    for _, case, explanation, answer in drawn(calculator):
        example = medcalc._assemble("x", "cot", calculator, "", explanation, answer)
        assert score(example.to_dict(), explanation).correct, (case, explanation)


def numbers_of(value: object) -> Iterator[str]:
    if isinstance(value, tuple):
        for part in value:
            yield from numbers_of(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def says_date(note: str, numeric: str) -> bool:
    day = datetime.strptime(numeric, "%m/%d/%Y")
    return numeric in note or f"{day:%B} {day.day}, {day.year}" in note


@each_calculator
def test_the_note_states_every_input(calculator: Calculator) -> None:
    for rng, case, _, _ in drawn(calculator):
        note = write_note(rng, case, calculator.reasons)
        plain = note.replace(",", "")
        for name, value in case.inputs.items():
            for number in numbers_of(value):
                assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]\d)", plain), (name, note)
            if name.endswith("_date"):
                assert says_date(note, value), note
        for fact in case.facts:
            if isinstance(fact, str):
                assert any(case.patient.fill(text) in note for text in fact.split("|")), note
        if "sex" in case.inputs:
            noun = r"man|boy" if case.inputs["sex"] == "Male" else r"woman|girl"
            assert re.search(rf"\b({noun})\b", note), note


@each_calculator
def test_texts_are_tidy_and_short(calculator: Calculator) -> None:
    for rng, case, explanation, _ in drawn(calculator):
        prompt = medcalc._prompt(rng, calculator, case, "cot")
        for text in (prompt, explanation):
            assert "  " not in text and "{" not in text and "|" not in text, text
            assert not re.search(r"\d\.\d{7}|\\n| ,|\.\.", text), text
            assert text == text.strip()
        assert len(explanation) <= 1100 and len(prompt) <= 600


def test_measures_come_in_all_units_that_the_package_converts() -> None:
    text = " ".join(
        write_note(rng, case, calculator.reasons)
        for calculator in CALCULATORS
        for rng, case, _, _ in drawn(calculator)
    )
    units = (r"\d kg", r"\d lbs", r"\d cm", r"\d m\b", r"\d ft \d+ in", r"height:? (is )?\d+ in")
    for unit in (*units, r"\d °F", r"\d °C", r"\d bpm", r"\d beats", r"\d ms\b", r"\d msec"):
        assert re.search(unit, text), unit


@pytest.mark.parametrize(
    ("id", "wrong_text"),
    [
        (3, "gender is male and the creatinine concentration is less"),
        (13, "must subtract"),
        (22, "greater than 20 kg"),
    ],
)
def test_branches_in_which_the_package_errs_are_not_drawn(id: int, wrong_text: str) -> None:
    calculator = next(c for c in CALCULATORS if c.id == id)
    for i in range(300):
        explanation, _ = calculator.explain(calculator.draw(random.Random(i)))
        assert wrong_text not in explanation


@pytest.mark.parametrize(
    ("patient", "described"),
    [
        (Patient("Male", 11), "an 11-year-old boy"),
        (Patient("Female", 18), "an 18-year-old woman"),
        (Patient("Male", 80), "an 80-year-old man"),
        (Patient("Female", 0, 8), "an 8-month-old girl"),
        (Patient("Female", 28), "a 28-year-old woman"),
        (Patient("Male", 1), "a 1-year-old boy"),
    ],
)
def test_patients_are_described_with_the_right_article(patient: Patient, described: str) -> None:
    assert patient.described == described


def test_a_note_of_known_facts() -> None:
    case = Case(Patient("Female", 8), {}, (Measure("pulse", "80 bpm"), "{They} coughs."))
    notes = {write_note(random.Random(i), case, ("a cough",)) for i in range(300)}
    assert "An 8-year-old girl is seen for a cough. Her pulse is 80 bpm. She coughs." in notes
    assert all("80 bpm" in note and "She coughs." in note for note in notes)
    assert len(notes) > 50


def test_no_note_says_that_allergies_are_unknown_and_known() -> None:
    case = Case(Patient("Male", 10), {}, ())
    notes = [write_note(random.Random(i), case, ("x",)) for i in range(500)]
    assert any("penicillin" in note for note in notes)
    assert not any("penicillin" in note and "no known drug" in note for note in notes)


# --- The splits ------------------------------------------------------------------------------


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
        return on(datetime.strptime(answer, "%m/%d/%Y").date() + timedelta(days=1))
    if kind == "weeks_days":
        weeks, days = map(int, re.findall(r"\d+", answer))
        return f"{weeks} weeks, {(days + 1) % 7} days"
    if kind == "integer":
        return str(int(answer) + 1)
    return str(float(answer) * 1.051 + 1e-3)


@pytest.mark.parametrize("variant", ["cot", "label_only"])
def test_the_target_is_right_and_a_near_miss_is_wrong(variant: str) -> None:
    splits = generate(spec(variant))
    assert {e.meta["calculator_id"] for e in splits["test"]} == set(REFERENCE)
    for example in splits["train"] + splits["test"]:
        line = example.to_dict()
        assert score(line, example.response).correct, example
        missed = example.response.replace(
            f"Final answer: {example.answer}", f"Final answer: {wrong(example)}"
        )
        grade = score(line, missed)
        assert not grade.correct and not grade.format_failure, missed


# --- Grading: cases worked out by hand --------------------------------------------------------


@pytest.mark.parametrize(
    ("generation", "correct", "parsed"),
    [
        ("Final answer: 23.5", True, "23.5"),
        ("Final answer: 22.325", True, "22.325"),  # 23.5 * 0.95
        ("Final answer: 24.675", True, "24.675"),  # 23.5 * 1.05
        ("Final answer: 22.32", False, "22.32"),
        ("Final answer: 24.68", False, "24.68"),
        ("**Final Answer:** 23.5 kg/m^2.", True, "23.5"),
        ("final answer:\n**23.5**", True, "23.5"),
        ("Final answer: 9\nWait.\nFinal answer: 23.5", True, "23.5"),
        ("Final answer: 23.5\nFinal answer: 9", False, "9"),
        ("Final answer: 2.35e1", True, "23.5"),
        ("Final answer: 0.235 x 10^2", True, "23.5"),
        ("Final answer: 23.5 mL/min/1.73 m²", True, "23.5"),
        ("Final answer: 23.5 %", True, "23.5"),
        ("Final answer: 47 / 2 = 23.5", True, "23.5"),
        ("Final answer: -23.5", False, "-23.5"),
        ("The BMI is 68 / 2.89 = 23.5 kg/m²", True, "23.5"),
        ("I would say 23.5", True, "23.5"),
        ("Final answer: unknown", False, None),
        ("so 23.5. Final answer: none", False, None),
        ("Final answer: nan", False, None),
        ("Final answer: inf", False, None),
        ("Final answer: -Infinity", False, None),
        ("Final answer: 1e999", False, None),
        ("Final answer:", False, None),
        ("no number", False, None),
        ("", False, None),
    ],
)
def test_decimal(generation: str, correct: bool, parsed: str | None) -> None:
    grade = score(decimal(23.5), generation)
    assert (grade.correct, grade.parsed) == (correct, parsed)
    assert grade.format_failure == (parsed is None)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("60 mL/min per 1.73 m²", "60"),
        ("60 mL/min per 1.73 m^2", "60"),
        ("60 mL/min Per 1.73m2", "60"),
        ("60 mL/min/1.73m2", "60"),
        ("60 mL/min / 1.73 m^2", "60"),
        ("150 per 1,000", "150"),
        ("1.73 m²", "1.73"),  # a body surface
        ("12 percent", "12"),
        ("super 8", "8"),
        ("68 per 2.89 = 23.5", "23.5"),
    ],
)
def test_number_in_a_unit_is_not_an_answer(text: str, parsed: str) -> None:
    assert score(decimal(60), f"Final answer: {text}").parsed == parsed


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("7 points (age 1, bp 2, 4)", "7"),
        ("7 (age: 1; bp: 2; rate: 4)", "7"),
        ("7/9 points (1 + 2 + 4).", "7"),
        ("-1 (age 45 and older: -1, cough 0)", "-1"),
        ("2.5 (95 % interval 1.5, 3.5)", "2.5"),
        # Not a list of parts, or no number directly before it: the last number counts, as usual.
        ("grade 2 (7 points)", "7"),
        ("class 2 (1 + 2 + 4 = 7)", "7"),
        ("2 (1,200 mL)", "1200"),
        ("FIB-4 (age 50, 1.3)", "1.3"),
        ("the total (1, 2, 4) is 7", "7"),
        ("1 point (age 1, bp 0) and 7", "7"),
    ],
)
def test_parts_in_parentheses_explain_the_number_before_them(text: str, parsed: str) -> None:
    for output_type in ("decimal", "integer"):
        line = record(output_type, "7", lower_limit=6.65, upper_limit=7.35)
        grade = score(line, f"Final answer: {text}")
        assert (grade.parsed, grade.correct) == (parsed, parsed == "7")


def test_limits_by_hand() -> None:
    assert limits(100) == (95, 105)
    assert limits(-4.75) == (-4.9875, -4.5125)  # the lower limit of a negative is 1.05 times it
    assert limits(3.8) == (3.61, 3.99)  # 3.8 * 1.05 in binary is a little less than 3.99
    assert limits(-3.8) == (-3.99, -3.61)
    assert limits(0) == (0, 0)


@pytest.mark.parametrize(
    ("generation", "correct"),
    [("-4.9", True), ("-4.52", True), ("−4.75", True), ("-5", False), ("-4.5", False), ("4.75", 0)],
)
def test_negative_truth(generation: str, correct: bool) -> None:
    assert score(decimal(-4.75), f"Final answer: {generation}").correct == correct


def test_limits_may_be_texts_as_in_the_benchmark() -> None:
    given_as_text = record("decimal", "1234.5", lower_limit="1172.775", upper_limit="1296.225")
    assert score(given_as_text, "Final answer: 1,234.5").correct
    assert score(given_as_text, "Final answer: 1,296").correct
    assert not score(given_as_text, "Final answer: 1,297").correct


@pytest.mark.parametrize(
    ("generation", "correct", "parsed"),
    [
        ("3", True, "3"),
        ("3 out of 5", True, "3"),
        ("3/5", True, "3"),
        ("3 points", True, "3"),
        ("2.6", True, "2.6"),  # rounds to 3
        ("3.4", True, "3.4"),
        ("3.6", False, "3.6"),
        ("-3", False, "-3"),
        ("4", False, "4"),
        ("1, 3, 5", True, "3"),  # three criteria
        ("1, 3 and 5", True, "3"),
        ("2, 3", False, "2"),
        ("The CURB-65 score is 3", True, "3"),
        ("three", False, None),
    ],
)
def test_integer(generation: str, correct: bool, parsed: str | None) -> None:
    grade = score(record("integer", "3"), f"Final answer: {generation}")
    assert (grade.correct, grade.parsed) == (correct, parsed)


def test_negative_integer() -> None:
    assert score(record("integer", "-1"), "Final answer: -1").correct
    assert not score(record("integer", "-1"), "Final answer: 1").correct


@pytest.mark.parametrize(
    ("generation", "parsed"),
    [
        ("06/30/2012", "06/30/2012"),
        ("6/30/2012.", "06/30/2012"),
        ("2012-06-30", "06/30/2012"),
        ("06-30-2012", "06/30/2012"),
        ("June 30, 2012", "06/30/2012"),
        ("jun 30th 2012", "06/30/2012"),
        ("30 June 2012", "06/30/2012"),
        ("30 Jun. 2012", "06/30/2012"),
        ("(06/30/2012)", "06/30/2012"),
        ("07/01/2012", "07/01/2012"),
        ("30/06/2012", None),  # the benchmark's dates are M/D/Y
        ("02/30/2012", None),
        ("06/30", None),
        ("6302012", None),
    ],
)
def test_date(generation: str, parsed: str | None) -> None:
    for truth in ("06/30/2012", "6/30/2012"):
        grade = score(record("date", truth), f"Final answer: {generation}")
        assert grade.parsed == parsed
        assert grade.correct == (parsed == "06/30/2012")


@pytest.mark.parametrize(
    ("generation", "parsed"),
    [
        ("16 weeks, 1 day", "16 weeks, 1 days"),
        ("16 weeks and 1 day", "16 weeks, 1 days"),
        ("('16 weeks', '1 days')", "16 weeks, 1 days"),
        ("(16, 1)", "16 weeks, 1 days"),
        ("16+1", "16 weeks, 1 days"),
        ("16w1d", "16 weeks, 1 days"),
        ("16 weeks + 1 day", "16 weeks, 1 days"),
        ("16 weeks+1 day", "16 weeks, 1 days"),
        ("16 1/7 weeks", "16 weeks, 1 days"),
        ("16+1/7 weeks", "16 weeks, 1 days"),
        ("16 and 1/7 wks", "16 weeks, 1 days"),
        ("21 weeks + 3 days", "21 weeks, 3 days"),
        ("21 3/7 weeks", "21 weeks, 3 days"),
        ("21-3/7 weeks", "21 weeks, 3 days"),
        ("16 0/7 weeks", "16 weeks, 0 days"),
        ("16 weeks", "16 weeks, 0 days"),
        ("16 wonders", None),
        ("1 weeks, 16 days", "1 weeks, 16 days"),
        ("113 days", None),
        ("16", None),
    ],
)
def test_weeks_and_days(generation: str, parsed: str | None) -> None:
    for truth in ("16 weeks, 1 day", "('16 weeks', '1 days')"):
        grade = score(record("weeks_days", truth), f"Final answer: {generation}")
        assert grade.parsed == parsed
        assert grade.correct == (parsed == "16 weeks, 1 days")


HOSTILE = [
    "__import__('os').system('touch /tmp/owned')",
    "9**9**9",
    "9" * 10_000,
    "-" * 10_000,
    "1," * 10_000,
    "1, " * 10_000,
    "1e" * 10_000,
    "1/" * 10_000,
    " x 10^9" * 3_000,
    "Final answer" + " " * 10_000,
    "Final answer:" * 3_000,
    "12 weeks" + " " * 10_000,
    "12 weeks, " * 3_000,
    "May 1 " * 5_000,
    "1 (" * 5_000,
    "1 (" + "1," * 10_000,
    "1" + "x" * 10_000 + "(",
    "1 1/7 " * 5_000,
    "12 weeks" + "+" * 10_000,
    "\x00\ud800",
]
OUTPUT_TYPES = ["integer", "decimal", "date", "weeks_days"]
TRUTHS = {"integer": "3", "decimal": "3", "date": "01/02/2003", "weeks_days": "3 weeks, 2 days"}


@pytest.mark.parametrize("output_type", OUTPUT_TYPES)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_hostile_text_is_harmless_and_fast(output_type: str, text: str) -> None:
    line = record(output_type, TRUTHS[output_type], lower_limit=2.85, upper_limit=3.15)
    start = time.process_time()
    for generation in (text, f"Final answer: {text}"):
        assert not score(line, generation).correct
    assert time.process_time() - start < 10  # quadratic would take hours


def test_ten_thousand_digits_are_not_an_answer() -> None:
    assert score(decimal(3.0), "Final answer: " + "9" * 10_000).format_failure


@given(st.text(), st.sampled_from(OUTPUT_TYPES))
def test_any_text_can_be_graded(text: str, output_type: str) -> None:
    line = record(output_type, TRUTHS[output_type], lower_limit=2.85, upper_limit=3.15)
    grade = score(line, text)
    assert not (grade.correct and grade.format_failure)


@given(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)))
def test_every_decimal_truth_is_right_and_a_tenth_more_wrong(truth: float) -> None:
    line = decimal(truth)
    assert score(line, f"Final answer: {truth}").correct
    more = truth * 1.1 + math.copysign(0.001, truth)
    assert not score(line, f"Final answer: {more}").correct


def test_grading_and_import_need_neither_the_calculators_nor_torch() -> None:
    code = (
        "import sys; sys.modules['medcalc'] = None; sys.modules['torch'] = None\n"
        "from sft_tradeoff.domains.medcalc.generated import DOMAIN\n"
        "line = {'answer': '3', 'meta': {'output_type': 'integer'}}\n"
        "assert DOMAIN.score(line, 'Final answer: 3').correct\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('pydantic', 'numpy')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_domain_is_found_by_name() -> None:
    domain = get_domain("medcalc")
    assert domain.score is score and domain.generate is generate


def test_a_study_can_choose_calculators():
    spec = domain_spec(name="medcalc", calculators=(5, 69), n_train=6, n_validation=2, n_test=4)
    generate = get_domain("medcalc").generate
    found = {e.meta["calculator_id"] for split in generate(spec).values() for e in split}
    assert found == {5, 69}
    with pytest.raises(ValueError, match=r"calculators: 4 is not one of .* remove it"):
        generate(spec.model_copy(update={"calculators": (5, 4)}))
