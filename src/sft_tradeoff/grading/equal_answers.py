"""Find different gold answers that a metric cannot tell apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

from sft_tradeoff.system.text import listing

SAMPLE = 80  # different answers, so at most 3,160 pairs
LONGEST = 10_000  # characters of an answer; grading longer ones so often would take minutes
_QUOTED = 40  # characters of an answer in a message


class EqualAnswers(NamedTuple):
    """Pairs of different answers that the metric accepts for each other.

    Args:
        pairs: The pairs.
        n_compared: Number of pairs compared.
    """

    pairs: list[tuple[str, str]]
    n_compared: int

    @property
    def are_most(self) -> bool:
        """Whether more than half of the pairs are equal, so that the metric is meaningless."""
        return 2 * len(self.pairs) > self.n_compared

    def describe(self, line_of: Mapping[str, int], noun: str = "line") -> str:
        """List some of the pairs with their texts and lines."""
        texts = (
            " and ".join(f"{quoted(text)} ({noun} {line_of[text]})" for text in pair)
            for pair in self.pairs
        )
        pairs = listing(texts, limit=3, separator="; ")
        return f"{len(self.pairs)} of {self.n_compared} pairs of different answers, {pairs}"


def find_equal_answers(
    answers: Iterable[str],
    counts_as: Callable[[str, str], bool],
    meaning: Callable[[str], Hashable] = str,
) -> EqualAnswers:
    """Grade each answer against the others.

    Args:
        answers: Gold answers. Of more than :data:`SAMPLE` different ones, every n-th is used; of
            those longer than :data:`LONGEST` none.
        counts_as: Whether the second answer, as a response, is right for the first as gold.
        meaning: Key shared by spellings of the same answer, which are not compared.
    """
    different = list(dict.fromkeys(answer for answer in answers if len(answer) <= LONGEST))
    step = -(-len(different) // SAMPLE) or 1
    sample = {meaning(answer): answer for answer in reversed(different[::step])}
    compared = list(itertools.combinations(reversed(sample.values()), 2))
    pairs = [(a, b) for a, b in compared if counts_as(a, b) or counts_as(b, a)]
    return EqualAnswers(pairs, len(compared))


def quoted(text: str) -> str:
    """Quote an answer in a message; a long one is shortened in the middle."""
    return repr(text if len(text) <= _QUOTED else f"{text[:18]}...{text[-19:]}")
