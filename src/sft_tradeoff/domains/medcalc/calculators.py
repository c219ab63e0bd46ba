"""A calculator of the ``medcalc`` package: how patients are drawn, and its explanation."""

from __future__ import annotations

import copy
import importlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sft_tradeoff.domains.medcalc.patients import Case

OutputType = Literal["integer", "decimal", "date", "weeks_days"]

# Typos in the package's texts; its formulas and numbers are not changed.
_SLIPS = {
    "Albmumin": "albumin",
    "cholestrol": "cholesterol",
    "coeffcient": "coefficient",
    "coeffient": "coefficient",
    "curent": "current",
    "estimate due date": "estimated due date",
    "forthe": "for the",
    "ischemetic": "ischemic",
    "Rautajarju": "Rautaharju",
    "mean average pressure": "mean arterial pressure",
    "total body weight percentage": "total body water percentage",
    "The patient's is a": "The patient is a",
    "The patients concentration": "The patient's concentration",
    "adding to 2 weeks": "adding 2 weeks",
    "corrected calcium concentration ": "corrected calcium concentration is ",
    "'The patient": "The patient",
    " 1 days": " 1 day",
    "is 1 points": "is 1 point",
}


@dataclass(frozen=True)
class Calculator:
    """One calculator and the patients it is used for.

    Args:
        id: MedCalc-Bench's number, which selects its grading rule.
        name: Unique name.
        function: ``module:function`` within the package.
        question: The question; may contain the names of inputs in braces.
        reasons: Reasons for the visit that fit the question.
        draw: Draws a case within the range in which the package's text and answer are right.
        output_type: How answers are written and graded.
        starts_at: Text at which the worked steps start. The table of criteria before it is the
            same in every explanation and longer than the steps, and is dropped.
    """

    id: int
    name: str
    function: str
    question: str
    reasons: tuple[str, ...]
    draw: Callable[[random.Random], Case]
    output_type: OutputType = "decimal"
    starts_at: str = ""

    def explain(self, case: Case) -> tuple[str, str]:
        """Run the package's calculator on a case.

        Returns:
            The worked explanation, one step per line, and the canonical answer.
        """
        module, _, function = self.function.partition(":")
        calculate = getattr(importlib.import_module(f"medcalc.{module}"), function)
        result = calculate(copy.deepcopy(case.inputs))  # some calculators modify their input
        text = _tidy(result["Explanation"])
        explanation = text[text.index(self.starts_at) :]
        answer = result["Answer"]  # weeks and days are a pair of texts
        return explanation, _tidy(", ".join(answer) if isinstance(answer, tuple) else str(answer))


def _tidy(text: str) -> str:
    for slip, right in _SLIPS.items():
        text = text.replace(slip, right)
    text = re.sub(r"\.(?=[A-Z])", ". ", text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)
