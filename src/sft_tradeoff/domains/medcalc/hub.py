"""MedCalc-Bench: a number, score or date asked of a real patient note (arXiv 2406.12036).

Prompt: note and question. Target: the benchmark's own explanation, then the line ``Final answer:``
for the grading rule, as in the generated domain ``medcalc``. According to a secondary source the
paper uses a ``<think>`` block and JSON in ``<answer>``; its template is not public.

Questions about dates and gestational ages say how to answer: ``Your response should be
in the format of M/D/Y (ie 08/31/2023, 07/03/2000) with just the date and no other text.`` or ``Your
answer should be a tuple, ...``. The target has the line of the grading rule, and an explanation
in ``cot``, so that sentence is removed from the prompt and kept in ``meta``.

Training rows whose prompt is in the test are left out. Notes shared with other questions, and
repeated test rows, are part of the benchmark and are kept; the data card counts them. Validation
takes whole notes from the training rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.assets.records import Row, data_files, read_rows
from sft_tradeoff.domains.base import SPLITS, Domain, Example, Splits
from sft_tradeoff.domains.draw import draw_examples, left_out
from sft_tradeoff.domains.medcalc.grading import question_text, score
from sft_tradeoff.grading.numbers import last_number
from sft_tradeoff.grading.text import normalize, text_id

if TYPE_CHECKING:
    from sft_tradeoff.domains.medcalc.spec import HubMedcalcSpec

CALCULATOR, NAME, NOTE, QUESTION = "Calculator ID", "Calculator Name", "Patient Note", "Question"
ANSWER, LOWER, UPPER = "Ground Truth Answer", "Lower Limit", "Upper Limit"
EXPLANATION = "Ground Truth Explanation"
COLUMNS = (CALCULATOR, NAME, NOTE, QUESTION, ANSWER, LOWER, UPPER, EXPLANATION)

# The benchmark grades by calculator: its column "Output Type" calls a gestational age a date.
OUTPUT_TYPES = {
    "date": (13, 68),
    "weeks_days": (69,),
    "integer": (4, *range(15, 19), 20, 21, 25, *range(27, 30), 32, 33, 36, 43, 45, 48, 51),
    "decimal": (
        *(2, 3, *range(5, 12), 19, *range(22, 25), 26, 30, 31),
        *(*range(38, 41), 44, 46, 49, *range(56, 68)),
    ),
}
_TYPE_OF = {str(id): name for name, ids in OUTPUT_TYPES.items() for id in ids}
_OWN_FORM = re.compile(
    r"(?<=\?)\s*(Your (?:answer|response) should .*?)(?=\s+You should|$)", re.DOTALL
)


def generate(spec: HubMedcalcSpec, source: Path) -> Splits:
    """Read the data set and draw the splits.

    Args:
        spec: Variant, sizes and seed; ``n_train`` is an upper limit.
        source: Folder with the files of the splits ``train`` and ``test``.

    Returns:
        Split name -> examples.

    Raises:
        RecordError: Naming file, row and column.
        ValueError: If a size cannot be met.
    """
    test, rows = _read(spec, source, "test"), _read(spec, source, "train")
    asked = {normalize(example.prompt) for _, example in test}
    train = [(note, example) for note, example in rows if normalize(example.prompt) not in asked]
    remark = left_out(len(rows) - len(train), len(rows), "their prompt is in the test split")
    splits = draw_examples(spec, train, [example for _, example in test], shared="note")
    return Splits(splits, [remark, *splits.remarks, *_remarks(splits)])


def _read(spec: HubMedcalcSpec, source: Path, split: str) -> list[tuple[str, Example]]:
    """The examples of a split, each with its normalized note."""
    return [(normalize(row.text(NOTE)), _example(spec, split, row)) for row in _rows(source, split)]


def _remarks(splits: Splits) -> Iterator[str]:
    """What the drawn examples repeat, and what was changed."""
    test = splits["test"]
    prompts = Counter(normalize(example.prompt) for example in test)
    yield (
        f"{len(test) - len(prompts)} of {len(test)} test questions repeat another one with the "
        "same note, as in the benchmark."
    )
    n_changed = {s: sum("own_form" in example.meta for example in splits[s]) for s in SPLITS}
    counts = ", ".join(f"{n} of {len(splits[split])} in {split}" for split, n in n_changed.items())
    yield (
        "Questions about dates and gestational ages lack their last sentence, which asks for "
        f"only the date or a tuple and so contradicts the target: {counts}."
    )


def _rows(source: Path, split: str) -> Iterator[Row]:
    return read_rows(data_files(source, split), COLUMNS)


def _example(spec: HubMedcalcSpec, split: str, row: Row) -> Example:
    note, question = row.text(NOTE), row.text(QUESTION)
    meta = _grading(row) | {"note": text_id(note)}
    if meta["output_type"] in ("date", "weeks_days") and (form := _OWN_FORM.search(question)):
        question = question[: form.start()] + question[form.end() :]
        meta["own_form"] = form[1]
    answer = score({"answer": row.text(ANSWER), "meta": meta}, row.text(ANSWER)).parsed
    if answer is None:
        raise row.error(ANSWER, f"is {row.text(ANSWER)!r}, not a valid {meta['output_type']}")
    final = f"Final answer: {answer}"
    cot = spec.variant == "cot"
    return Example(
        id=f"medcalc-bench-{split}-{row.path.stem}-{row.number:05d}",
        prompt=question_text(note, question, spec.variant, str(meta["output_type"])),
        response=f"{row.text(EXPLANATION)}\n{final}" if cot else final,
        answer=answer,
        meta=meta,
    )


def _grading(row: Row) -> dict[str, Any]:
    """What the grading rule needs from a row: its type and, for decimals, its limits."""
    id = row.text(CALCULATOR).removesuffix(".0")
    if id not in _TYPE_OF:
        raise row.error(CALCULATOR, f"is {id!r}, which the benchmark's grading rule does not cover")
    meta = {"calculator": row.text(NAME), "calculator_id": int(id), "output_type": _TYPE_OF[id]}
    if meta["output_type"] != "decimal":
        return meta
    # For a negative answer, the benchmark's "lower" limit is the larger one.
    low, high = sorted((_limit(row, LOWER), _limit(row, UPPER)))
    return {**meta, "lower_limit": low, "upper_limit": high}


def _limit(row: Row, column: str) -> float:
    value = last_number(row.text(column))
    if value is None:
        raise row.error(column, f"is {row.text(column)!r}, not a number")
    return float(value)


def cluster(record: Mapping[str, Any]) -> str:
    """The note, about which several questions may be asked."""
    return str(record["meta"]["note"])


DOMAIN = Domain(
    description=(
        "MedCalc-Bench: clinical calculations asked of real and written patient notes; 55 "
        "calculators with integer, decimal, date and gestational-age answers, graded by the "
        "benchmark's rule with each item's own limits."
    ),
    source="Khandekar et al. 2024, MedCalc-Bench (arXiv 2406.12036)",
    license="CC-BY-SA-4.0 (a later card of the data set says CC-BY-4.0)",
    generate=generate,
    score=score,
    # The longest explanations (APACHE II, Caprini) list their criteria: 8,000 characters, or 3,000
    # tokens if every digit is one.
    max_new_tokens={"cot": 4096, "label_only": 24},
    unit="note",
    cluster=cluster,
)
