"""What every domain provides: examples with a target response, and a rule for grading answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sft_tradeoff.grading.text import normalize

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One prompt with the response to learn and the answer to grade against.

    Args:
        id: Unique within the domain's data, stable for a seed.
        prompt: The user's message, without any chat template.
        response: The assistant's message, which is learned.
        answer: The gold answer, in the canonical form that the domain's ``score`` expects.
        meta: JSON-serializable facts about the example (calculator, limits, rule, ...).
        system: The system's message, if there is one.
        history: Earlier turns of the conversation, each with ``role`` (user and assistant in turns)
            and ``content``; they are read, not learned.
    """

    id: str
    prompt: str
    response: str
    answer: str
    meta: dict[str, Any] = field(default_factory=dict)
    system: str | None = None
    history: tuple[Mapping[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSONL record of this example, without ``system`` and ``history`` if unset."""
        record = asdict(self)
        return {k: v for k, v in record.items() if k not in ("system", "history") or v}


class Splits(dict[str, list[Example]]):
    """The three splits of a domain that reads a data set.

    Args:
        splits: Split name -> examples.
        remarks: Sentences for the data card: what was dropped or changed, with counts.
    """

    def __init__(self, splits: Mapping[str, list[Example]], remarks: Sequence[str] = ()) -> None:
        super().__init__(splits)
        self.remarks = tuple(remarks)


def only_answer(test: Sequence[Example]) -> str | None:
    """Return a warning if all test answers are the same, else None."""
    if len({normalize(example.answer) for example in test}) != 1:
        return None
    return (
        f"all {len(test)} test answers are {test[0].answer[:40]!r}: a model that always gives this "
        "answer is right, whatever it has learned"
    )


@dataclass(frozen=True)
class Score:
    """Grade of one generated response.

    Args:
        correct: Whether the parsed answer is right under the domain's rule.
        parsed: The answer found in the generation; None if the format was not followed.
    """

    correct: bool
    parsed: str | None

    @property
    def format_failure(self) -> bool:
        """Whether no answer could be parsed, which is counted apart from wrong answers."""
        return self.parsed is None


def itself(record: Mapping[str, Any]) -> str:
    """The cluster of an example that is independent of all others: its id."""
    return str(record["id"])


@dataclass(frozen=True)
class Domain:
    """A fine-tuning domain: how its data is made and how its answers are graded.

    Args:
        description: One paragraph for the data card.
        source: Where the data comes from, including whether it is synthetic.
        license: License of the data.
        generate: Builds the three splits from the spec and one path per asset of the spec;
            deterministic; raises ``ValueError`` naming the field, the value and the fix if the
            spec cannot be met.
        score: Grades one generation against one JSONL record. Never evaluates text as code.
        max_new_tokens: Usual answer length in tokens, by variant; None: that of the test responses.
        labels: The closed set of answers, if any; balanced accuracy is then reported too.
        unit: What is independent of the rest, for the data card: ``note``, ``query``, ...
        cluster: Record → name of the unit that it belongs to. Examples of one unit tend to be
            right or wrong together, so intervals treat them as one observation.
    """

    description: str
    source: str
    license: str
    generate: Callable[..., dict[str, list[Example]]]
    score: Callable[[Mapping[str, Any], str], Score]
    max_new_tokens: Mapping[str, int | None]
    labels: tuple[str, ...] = ()
    unit: str = "example"
    cluster: Callable[[Mapping[str, Any]], str] = itself
