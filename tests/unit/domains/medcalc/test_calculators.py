"""Answers and texts of all calculators, against the published formulas."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from sft_tradeoff.domains.medcalc import generated as medcalc
from sft_tradeoff.domains.medcalc.calculators import Calculator
from sft_tradeoff.domains.medcalc.generated import CALCULATORS
from sft_tradeoff.domains.medcalc.grading import score
from sft_tradeoff.domains.medcalc.patients import Case, Measure, Patient, write_note

DRAWS = 40
Inputs = Mapping[str, Any]


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
