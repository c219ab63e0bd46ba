"""The user's own domain: a file or folder in any of the usual formats and layouts.

:mod:`~sft_tradeoff.domains.own.files` finds the files, :mod:`~sft_tradeoff.domains.own.formats`
reads their rows, :mod:`~sft_tradeoff.domains.own.layouts` recognizes what their keys mean, and
:mod:`~sft_tradeoff.domains.own.rows` turns each into a line: prompt, response, gold answer, and
optionally system text, earlier turns and split. Keys that would change what is learned are refused,
others are counted in the log. All problems are reported together, each once with its lines.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.domains.base import Domain, Example
from sft_tradeoff.domains.own import remarks
from sft_tradeoff.domains.own.answers import equal_answers, score, ungradable
from sft_tradeoff.domains.own.clusters import shared_units
from sft_tradeoff.domains.own.lines import Line
from sft_tradeoff.domains.own.read import OwnData, read_file, report
from sft_tradeoff.domains.own.splits import assign, too_few_to_test

if TYPE_CHECKING:
    from sft_tradeoff.domains.own.spec import OwnSpec


def generate(spec: OwnSpec) -> dict[str, list[Example]]:
    """Read the file and split it (:mod:`sft_tradeoff.domains.own.splits`).

    Raises:
        ValueError: With all problems of the file, or the size to lower.
    """
    data = read_file(Path(spec.path), spec.columns)
    meta = check(data, spec)
    return divide(data, spec, meta)


def check(data: OwnData, spec: OwnSpec) -> dict[str, Any]:
    """Check that every line can be used and graded, and that there are enough for the splits.

    Returns:
        ``meta`` of the examples: how they are graded.

    Raises:
        ValueError: With all problems of the file.
    """
    problems = list(data.problems)
    splits = assign(data, spec, problems)
    meta, misfits = _grading(data, spec.metric, spec.tolerance)
    problems += misfits
    if not problems:
        problems += too_few_to_test(splits["test"][: spec.n_test], spec)
    if problems:
        raise ValueError(report(data.path, problems))
    return meta


@functools.lru_cache(maxsize=1)
def _grading(data: OwnData, metric: str, tolerance: float) -> tuple[dict[str, Any], list[str]]:
    """``meta`` of the examples, and what the metric does not fit; remarks are logged."""
    labels = sorted({line.answer for line in data.lines}) if metric == "choice" else []
    meta = {"metric": metric, "tolerance": tolerance, "labels": labels}
    if misfits := ungradable(data.lines, meta, data.noun):
        return meta, misfits
    equal, are_most = equal_answers(data.lines, meta, data.noun)
    if are_most:
        return meta, [equal]
    remarks.tell(data, [equal] * bool(equal))
    return meta, []


def divide(data: OwnData, spec: OwnSpec, meta: Mapping[str, Any]) -> dict[str, list[Example]]:
    """Divide checked lines into splits of at most the sizes of ``spec``."""
    splits = assign(data, spec, [])
    units = {number: {"unit": unit} for number, unit in shared_units(data.lines).items()}
    sizes = {"train": spec.n_train, "validation": spec.n_validation, "test": spec.n_test}
    return {
        split: [
            _example(split, i, line, {**meta, **units.get(line.number, {})})
            for i, line in enumerate(splits[split][:size])
        ]
        for split, size in sizes.items()
    }


def _example(split: str, index: int, line: Line, meta: Mapping[str, Any]) -> Example:
    return Example(
        id=f"own-{split}-{index:05d}",
        prompt=line.prompt,
        response=line.response,
        answer=line.answer,
        meta={**meta, "line": line.number},
        system=line.system,
        history=line.history,
    )


def cluster(record: Mapping[str, Any]) -> str:
    """The conversation or passage that the example shares with other lines, or itself."""
    return str(record["meta"].get("unit", record["id"]))


DOMAIN = Domain(
    description="The user's own prompts and responses, read from a file.",
    source="A local file given by the user.",
    license="as stated by the user",
    generate=generate,
    score=score,
    max_new_tokens={"response": None},
    unit="conversation or passage",
    cluster=cluster,
)
