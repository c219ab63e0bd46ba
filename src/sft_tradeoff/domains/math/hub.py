"""MetaMathQA for training (arXiv 2309.12284), GSM8K's test questions for the test.

Both have the same format. MetaMathQA's solutions end in ``The answer is: ...``, after
``#### number`` if they come from GSM8K; GSM8K's end in ``#### number``, and the other line is
added. GSM8K's calculator annotations (``48/2 = <<48/2=24>>24``) are removed: no training response
has them, so they would dominate the test loss and measure nothing.

MetaMathQA rewrites the *training* questions of GSM8K and MATH. An example is left out if its
question, or the one it rewrites, equals a test question of GSM8K. Validation takes all rewritings
of a question together. Since GSM8K is the test here, it cannot be part of the general suite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.assets.records import Row, data_files, read_rows
from sft_tradeoff.domains.base import SPLITS, Domain, Example, Score, Splits
from sft_tradeoff.domains.draw import draw_examples, left_out
from sft_tradeoff.domains.math.grading import read_number
from sft_tradeoff.grading.gold import read_gold
from sft_tradeoff.grading.numbers import format_float
from sft_tradeoff.grading.text import normalize, text_id

if TYPE_CHECKING:
    from sft_tradeoff.domains.math.spec import HubMetamathSpec

TRAIN_COLUMNS = ("type", "query", "original_question", "response")
TEST_COLUMNS = ("question", "answer")
# "<answer>", not a number: answers to MATH's questions are expressions.
_INSTRUCTION = 'Reason step by step and finish with "The answer is: <answer>".'
_ANNOTATION = re.compile(r"<<[^<>\n]*=[^<>\n]*>>")
_MARKED = re.compile(r"(?:####|the answer is:?)[ \t$*]*([^\n]*)", re.IGNORECASE)
_GOLD = re.compile(r"####\s*(\S+)\s*$")


def generate(spec: HubMetamathSpec, metamathqa: Path, gsm8k: Path) -> Splits:
    """Read both data sets and draw the splits.

    Args:
        spec: Sizes and seed; ``n_train`` is an upper limit.
        metamathqa: Folder with MetaMathQA, or its JSON file.
        gsm8k: Folder with the files of GSM8K's split ``test``.

    Returns:
        Split name -> examples.

    Raises:
        RecordError: Naming file, row and column.
        ValueError: If a size cannot be met.
    """
    test = [_test_example(row) for row in read_rows(data_files(gsm8k, "test"), TEST_COLUMNS)]
    asked = {normalize(example.meta["question"]) for example in test}
    train, n_rows = [], 0
    for row in read_rows(data_files(metamathqa), TRAIN_COLUMNS):
        n_rows += 1
        original = normalize(row.text("original_question"))
        if asked.isdisjoint((normalize(row.text("query")), original)):
            train.append((original, _train_example(row)))
    remark = left_out(n_rows - len(train), n_rows, "their question is in GSM8K's test")
    splits = draw_examples(spec, train, test, shared="original question")
    return Splits(splits, [remark, *splits.remarks, *_remarks(splits)])


def _remarks(splits: Splits) -> Iterator[str]:
    """What was removed from the drawn responses, and what is missing in them."""
    for split in SPLITS:
        found = [example.meta.get("n_annotations", 0) for example in splits[split]]
        yield (
            f"{sum(found)} calculator annotations (`<<48/2=24>>`) are removed from "
            f"{sum(map(bool, found))} of {len(found)} {split} responses."
        )
    train = splits["train"]
    n_open = sum(not example.answer for example in train)
    yield f'{n_open} of {len(train)} train responses lack the line "The answer is: ...".'


def _without_annotations(response: str) -> tuple[str, dict[str, int]]:
    """A response without calculator annotations; for ``meta``, their number if there were any."""
    text, n = _ANNOTATION.subn("", response)
    return text, {"n_annotations": n} if n else {}


def _prompt(question: str) -> str:
    return f"{question}\n\n{_INSTRUCTION}"


def _train_example(row: Row) -> Example:
    response, removed = _without_annotations(row.text("response"))
    answers = _MARKED.findall(response)
    return Example(
        id=f"metamathqa-{row.number:06d}",
        prompt=_prompt(row.text("query")),
        response=response,
        answer=answers[-1].strip() if answers else "",
        meta={
            "type": row.text("type"),
            "original": text_id(row.text("original_question")),
            **removed,
        },
    )


def _test_example(row: Row) -> Example:
    question, answer = row.text("question"), row.text("answer")
    gold = _GOLD.search(answer)
    try:
        value = read_gold(gold[1] if gold else "").value
    except ValueError:
        raise row.error(
            "answer", f"does not end in '#### <number>' but in {answer[-40:]!r}"
        ) from None
    number = format_float(value)
    solution, removed = _without_annotations(answer)
    return Example(
        id=f"gsm8k-test-{row.number:05d}",
        prompt=_prompt(question),
        response=f"{solution}\nThe answer is: {number}",
        answer=number,
        meta={"question": question, **removed},
    )


def score(record: Mapping[str, Any], generation: str) -> Score:
    """Grade the first number after the last ``####`` or ``The answer is:``; it must be equal.

    Without such a mark, the last number of the text is graded. Thousands separators are ignored.

    Args:
        record: JSONL record of an example, with its gold number under ``answer``.
        generation: What the model wrote.
    """
    value = read_number(_MARKED.findall(generation), generation)
    if value is None:
        return Score(correct=False, parsed=None)
    parsed = format_float(value)
    return Score(correct=parsed == record["answer"], parsed=parsed)


def cluster(record: Mapping[str, Any]) -> str:
    """The question that MetaMathQA rewrites; a test question of GSM8K is its own unit."""
    return str(record["meta"].get("original", record["id"]))


DOMAIN = Domain(
    description=(
        "MetaMathQA for training and validation, the test questions of GSM8K for the test. An "
        "answer is right if its number equals the gold one."
    ),
    source=(
        "Yu et al. 2023, MetaMathQA (arXiv 2309.12284); Cobbe et al. 2021, GSM8K (arXiv 2110.14168)"
    ),
    license="MIT",
    generate=generate,
    score=score,
    max_new_tokens={"cot": 1024},
    unit="original question",
    cluster=cluster,
)
