"""Synthetic patients and short notes about them.

Each calculator draws a :class:`Case`: a patient, the calculator's inputs and the facts that state
each input. :func:`write_note` writes the facts as prose, in varied order and wording, mixed with
irrelevant facts. Wordings with the same meaning are separated by ``|``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Patient:
    """The patient: ``sex`` is ``Male`` or ``Female``; ``months`` is for infants only."""

    sex: str
    age: int
    months: int = 0

    @property
    def described(self) -> str:
        """Age and sex with the article, e.g. ``an 8-year-old boy``."""
        number, unit = (self.months, "month") if self.months else (self.age, "year")
        child, adult = ("boy", "man") if self.sex == "Male" else ("girl", "woman")
        article = "an" if str(number).startswith("8") or number in (11, 18) else "a"
        return f"{article} {number}-{unit}-old {child if self.age < 18 else adult}"

    def fill(self, template: str, **texts: str) -> str:
        """Fill a template with pronouns, with ``patient`` and with ``texts``.

        A name with a capital letter gives its text with a capital letter.
        """
        they, their = ("he", "his") if self.sex == "Male" else ("she", "her")
        words = {"they": they, "their": their, "patient": self.described, **texts}
        capitals = {name.title(): word[:1].upper() + word[1:] for name, word in words.items()}
        return template.format(**words, **capitals)


@dataclass(frozen=True)
class Measure:
    """A fact of the form "label value unit"; both texts may contain alternatives."""

    label: str
    value: str


Fact = Measure | str


@dataclass(frozen=True)
class Case:
    """One patient for one calculator: the inputs, and the facts that state them."""

    patient: Patient
    inputs: dict[str, Any]
    facts: tuple[Fact, ...]


_LABELS = {
    "sodium": "sodium|serum sodium",
    "chloride": "chloride|serum chloride",
    "bicarbonate": "bicarbonate|serum bicarbonate",
    "albumin": "albumin|serum albumin",
    "creatinine": "creatinine|serum creatinine",
    "calcium": "calcium|serum calcium",
    "glucose": "glucose|blood glucose",
    "insulin": "fasting insulin",
    "urine_sodium": "urine sodium",
    "urine_creatinine": "urine creatinine",
    "total_cholestrol": "total cholesterol",
    "hdl_cholestrol": "HDL cholesterol|HDL",
    "triglycerides": "triglyceride level",
    "weight": "weight|body weight",
    "height": "height",
    "ast": "AST",
    "alt": "ALT",
    "heart_rate": "heart rate|pulse",
    "qt_interval": "QT interval",
}
_OPENINGS = (
    "{Patient} is seen for {reason}.",
    "{Patient} presents for {reason}.",
    "The patient is {patient} seen for {reason}.",
    "Reason for visit: {reason}, in {patient}.",
)
_MEASURE_SENTENCES = (
    "{Their} {label} is {value}.",
    "The {label} is {value}.",
    "{Their} {label} was measured at {value}.",
    "{Label}: {value}.",
)
_LIST_LEADS = ("Results", "Measurements", "Recorded today", "Findings")
_IRRELEVANT_SENTENCES = (
    "{They} has no known drug allergies.|{They} is allergic to penicillin.",
    "{Their} family history is unremarkable.",
    "{Their} vaccinations are up to date.",
    "{They} lives with {their} family.",
    "{They} has a cat at home.",
    "{They} takes vitamin D.",
)


def draw_patient(rng: random.Random, low: int, high: int, sex: str | None = None) -> Patient:
    """Draw a patient whose age in years is between ``low`` and ``high``, both included."""
    return Patient(sex or rng.choice(("Male", "Female")), rng.randint(low, high))


def tenths(rng: random.Random, low: float, high: float) -> float:
    """Draw a number with one decimal between ``low`` and ``high``, both included."""
    return rng.randint(round(low * 10), round(high * 10)) / 10


def measured_case(patient: Patient, **inputs: Any) -> Case:
    """A case whose labeled inputs, tuples of value and unit, are stated as measures.

    Age and sex have no label; every note begins with them.
    """
    facts = tuple(
        Measure(label, _measured_value(inputs[name]))
        for name, label in _LABELS.items()
        if name in inputs
    )
    return Case(patient, inputs, facts)


def _measured_value(parts: tuple[Any, ...]) -> str:
    value = " ".join(str(part) for part in parts)
    for unit, short in (("beats per minute", "bpm"), ("msec", "ms")):
        if unit in value:
            return f"{value}|{value.replace(unit, short)}"
    return value


def choose(rng: random.Random, wordings: str) -> str:
    """Choose one of the wordings that ``|`` separates."""
    return rng.choice(wordings.split("|"))


def write_note(rng: random.Random, case: Case, reasons: tuple[str, ...]) -> str:
    """Write a short note that states every fact of the case and up to two irrelevant ones.

    Args:
        rng: Source of order and wording.
        case: The patient and the facts.
        reasons: Reasons for the visit that fit the facts; one is chosen.
    """
    facts = [*case.facts, *_irrelevant(rng, case)]
    sentences = [case.patient.fill(choose(rng, fact)) for fact in facts if isinstance(fact, str)]
    measures = [fact for fact in facts if isinstance(fact, Measure)]
    rng.shuffle(measures)
    sentences += _measure_sentences(rng, case.patient, measures)
    rng.shuffle(sentences)
    opening = case.patient.fill(rng.choice(_OPENINGS), reason=rng.choice(reasons))
    return " ".join([opening, *sentences])


def _irrelevant(rng: random.Random, case: Case) -> list[Fact]:
    pool: list[Fact] = list(rng.sample(_IRRELEVANT_SENTENCES, 2))
    if case.patient.age >= 18:
        pool += [
            Measure("hemoglobin", f"{tenths(rng, 12.5, 15.5)} g/dL"),
            Measure("potassium|serum potassium", f"{tenths(rng, 3.6, 5.0)} mmol/L"),
            Measure("respiratory rate", f"{rng.randint(12, 18)} breaths per minute"),
            Measure("oxygen saturation", f"{rng.randint(95, 99)} % on room air"),
            Measure("TSH", f"{tenths(rng, 0.6, 3.9)} mIU/L"),
        ]
    return rng.sample(pool, rng.choice((0, 1, 1, 2)))


def _measure_sentences(rng: random.Random, patient: Patient, measures: list[Measure]) -> list[str]:
    """One sentence that lists all measures, or one sentence for each."""
    chosen = [(choose(rng, measure.label), choose(rng, measure.value)) for measure in measures]
    if len(chosen) > 1 and rng.random() < 0.6:
        items = ", ".join(f"{label} {value}" for label, value in chosen)
        return [f"{rng.choice(_LIST_LEADS)}: {items}."]
    template = rng.choice(_MEASURE_SENTENCES)
    return [patient.fill(template, label=label, value=value) for label, value in chosen]
