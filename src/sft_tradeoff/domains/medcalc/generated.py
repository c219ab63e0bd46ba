"""MedCalc: a number, score or date asked of a short patient note.

In the style of MedCalc-Bench, with *synthetic* notes: patients are drawn from plausible ranges. The
calculators of the ``medcalc-bench`` package compute the answer and explain it; the explanation,
without the tables of criteria that come first in some, is the chain-of-thought target. See
:mod:`~sft_tradeoff.domains.medcalc.equations` and :mod:`~sft_tradeoff.domains.medcalc.scores` for
the calculators that are left out, and why.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sft_tradeoff.domains.base import Domain, Example
from sft_tradeoff.domains.medcalc.calculators import Calculator
from sft_tradeoff.domains.medcalc.equations import EQUATIONS
from sft_tradeoff.domains.medcalc.grading import limits, question_text, score
from sft_tradeoff.domains.medcalc.patients import Case, write_note
from sft_tradeoff.domains.medcalc.scores import SCORES
from sft_tradeoff.grading.text import normalize

if TYPE_CHECKING:
    from sft_tradeoff.domains.medcalc.spec import MedcalcSpec

CALCULATORS: tuple[Calculator, ...] = tuple(sorted((*EQUATIONS, *SCORES), key=lambda c: c.id))
_MAX_ATTEMPTS = 200


def generate(spec: MedcalcSpec) -> dict[str, list[Example]]:
    """Build the three splits, each from its own random stream: a longer one starts the same.

    No patient appears twice, and no prompt up to case and white space. Calculators take turns, in
    a new random order each round, so their counts differ by at most one.

    Raises:
        ValueError: If not enough different patients can be drawn.
    """
    seen: set[str] = set()
    sizes = {"test": spec.n_test, "validation": spec.n_validation, "train": spec.n_train}
    splits = {
        split: [_example(spec, split, index, seen) for index in range(size)]
        for split, size in sizes.items()
    }
    return {split: splits[split] for split in ("train", "validation", "test")}


def _example(spec: MedcalcSpec, split: str, index: int, seen: set[str]) -> Example:
    calculator = _calculator_in_turn(spec, split, index)
    for attempt in range(_MAX_ATTEMPTS):
        rng = random.Random(f"medcalc {spec.seed} {split} {index} {attempt}")
        case = calculator.draw(rng)
        prompt = _prompt(rng, calculator, case, spec.variant)
        keys = {_patient_key(calculator, case), normalize(prompt)}
        if not keys & seen:
            seen |= keys
            id = f"medcalc-{split}-{index:05d}"
            return _assemble(id, spec.variant, calculator, prompt, *calculator.explain(case))
    raise ValueError(
        f"n_{split}: {getattr(spec, f'n_{split}')} is too many: no new patient was found for "
        f"calculator {calculator.name!r} after example {index}; lower it"
    )


def _chosen(ids: tuple[int, ...] | None) -> tuple[Calculator, ...]:
    """Return the calculators of a study; by default all."""
    known = {calculator.id: calculator for calculator in CALCULATORS}
    return tuple(known[id] for id in sorted(set(ids or known)))


def _calculator_in_turn(spec: MedcalcSpec, split: str, index: int) -> Calculator:
    calculators = _chosen(spec.calculators)
    turn, place = divmod(index, len(calculators))
    order = random.Random(f"medcalc {spec.seed} {split} order {turn}")
    return order.sample(calculators, len(calculators))[place]


def _prompt(rng: random.Random, calculator: Calculator, case: Case, variant: str) -> str:
    note = write_note(rng, case, calculator.reasons)
    question = calculator.question.format(**case.inputs)
    return question_text(note, question, variant, calculator.output_type)


def _patient_key(calculator: Calculator, case: Case) -> str:
    patient = (case.patient.sex, case.patient.age, case.patient.months)
    return json.dumps([calculator.id, patient, case.inputs], sort_keys=True)


def _assemble(
    id: str, variant: str, calculator: Calculator, prompt: str, explanation: str, answer: str
) -> Example:
    final = f"Final answer: {answer}"
    meta: dict[str, Any] = {
        "calculator": calculator.name,
        "calculator_id": calculator.id,
        "output_type": calculator.output_type,
    }
    if calculator.output_type == "decimal":
        meta["lower_limit"], meta["upper_limit"] = limits(float(answer))
    response = f"{explanation}\n{final}" if variant == "cot" else final
    return Example(id=id, prompt=prompt, response=response, answer=answer, meta=meta)


def cluster(record: Mapping[str, Any]) -> str:
    """The calculator: all its notes are one template with other numbers."""
    return f"calculator-{record['meta']['calculator_id']}"


DOMAIN = Domain(
    description=(
        "Clinical calculations asked of short patient notes, in the style of MedCalc-Bench: "
        f"{len(CALCULATORS)} calculators with integer, decimal, date and gestational-age answers."
    ),
    source=(
        "Synthetic notes; explanations and answers by the calculators of medcalc-bench 1.7.0, "
        "with spelling corrected and tables of criteria left out."
    ),
    license="Apache-2.0",
    generate=generate,
    score=score,
    max_new_tokens={"cot": 448, "label_only": 24},
    unit="calculator",
    cluster=cluster,
)
