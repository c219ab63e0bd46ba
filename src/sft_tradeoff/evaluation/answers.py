"""What the model answered to each item, from lm-eval's log, and the file that keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sft_tradeoff.analysis.answers import SCHEMA
from sft_tradeoff.chat import chat_format
from sft_tradeoff.system.files import path_with_checksum

if TYPE_CHECKING:
    from sft_tradeoff.domains.base import Domain
    from sft_tradeoff.suite.base import Benchmark

Sample = Mapping[str, Any]  # one entry of lm-eval's log


class Said(NamedTuple):
    """An answer before it is graded.

    Args:
        kind: ``generation`` or ``multiple_choice``.
        text: The generation as it is graded; None for a choice.
        parsed: The answer found in it, or the index of the chosen option; None if there is none.
        log_likelihood: Of each option, in nats; None for a generation.
        gold: Index of the right option; None for a generation.
    """

    kind: str
    text: str | None = None
    parsed: str | None = None
    log_likelihood: list[float] | None = None
    gold: int | None = None


class Answer(NamedTuple):
    """A graded answer; ``correct`` is None if the grader failed."""

    benchmark: str
    item: str
    said: Said
    correct: bool | None


def said_in_suite(benchmark: Benchmark, tokenizer: Any) -> Callable[[Sample], Said]:
    """How the answers of one benchmark of the general suite are read from the log."""
    if benchmark.kind == "multiple_choice":
        return lambda sample: _chosen(sample, by_length=benchmark.accuracy == "acc_norm")

    def generated(sample: Sample) -> Said:
        text = _generation(sample)
        if benchmark.rendered:
            text = chat_format(tokenizer).answer(text)
        return Said("generation", text, benchmark.parsed(sample))

    return generated


def said_in_domain(domain: Domain, tokenizer: Any) -> Callable[[Sample], Said]:
    """How the answers to a domain's test are read from the log."""

    def generated(sample: Sample) -> Said:
        text = chat_format(tokenizer).answer(_generation(sample))
        record = json.loads(sample["doc"]["record"])
        return Said("generation", text, domain.score(record, text).parsed)

    return generated


def _generation(sample: Sample) -> str:
    return str(sample["resps"][0][0])


def _chosen(sample: Sample, by_length: bool) -> Said:
    """The option with the largest log-likelihood, per character if that is what counts."""
    doc = sample["doc"]
    nats = [float(value) for value, _ in sample["filtered_resps"]]
    lengths = [len(choice) if by_length else 1 for choice in doc["choices"]]
    scores = [value / length for value, length in zip(nats, lengths, strict=True)]
    return Said("multiple_choice", None, str(scores.index(max(scores))), nats, int(doc["gold"]))


def graded(
    rows_of: Callable[[Iterable[Sample]], Iterable[tuple[str, str, str, float, float]]],
    accuracy: str,
    said: Callable[[Sample], Said],
    samples: Iterable[Sample],
) -> Iterator[Answer]:
    """Yield the answer to every item, with the grade that counts.

    Args:
        rows_of: lm-eval's log → rows of scores.
        accuracy: Metric of these rows that says whether an answer is right. Of several entries for
            one item (one per filter of the answer), the one with this metric is taken.
        said: Entry of the log → answer.
        samples: lm-eval's log.
    """
    for sample in samples:
        for benchmark, item, metric, value, _ in rows_of([sample]):
            if metric == accuracy:
                correct = None if math.isnan(value) else bool(value)
                yield Answer(benchmark, item, said(sample), correct)


def write_answers(path: Path, answers: Iterable[Answer]) -> None:
    """Write answers as Parquet, compressed with zstd, with a checksum.

    The same answers give the same bytes.
    """
    records = [
        {"benchmark": a.benchmark, "item": a.item, "correct": a.correct} | a.said._asdict()
        for a in answers
    ]
    table = pa.Table.from_pylist(records, schema=SCHEMA)
    with path_with_checksum(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=9)
