"""Different gold answers that a metric cannot tell apart: graded against each other beforehand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

from sft_tradeoff.system.text import listing

SAMPLE = 80  # different answers, so at most 3,160 pairs
_LONGEST = 40  # characters of an answer in a message


class EqualAnswers(NamedTuple):
    """Pairs of answers that count as each other.

    Args:
        pairs: The pairs, as keys of the answers that were compared.
        n_compared: How many pairs were compared.
    """

    pairs: list[tuple[str, str]]
    n_compared: int

    @property
    def are_most(self) -> bool:
        """Whether the metric says nothing: more pairs are equal than are not."""
        return 2 * len(self.pairs) > self.n_compared

    def describe(self, line_of: Mapping[str, int]) -> str:
        """Name some of the pairs with their texts and lines."""
        texts = (
            " and ".join(f"{quoted(text)} (line {line_of[text]})" for text in pair)
            for pair in self.pairs
        )
        pairs = listing(texts, limit=3, separator="; ")
        return f"{len(self.pairs)} of {self.n_compared} pairs of different answers, {pairs}"


def find_equal_answers(
    answers: Iterable[str],
    counts_as: Callable[[str, str], bool],
    meaning: Callable[[str], Hashable] = str,
) -> EqualAnswers:
    """Grade answers against each other.

    Args:
        answers: Gold answers; of more than :data:`SAMPLE` different ones, every n-th is taken.
        counts_as: Whether the second, given as the response, is right where the first is asked for.
        meaning: What spellings of one answer have in common; they may count as each other.
    """
    different = list(dict.fromkeys(answers))
    step = -(-len(different) // SAMPLE) or 1
    sample = {meaning(answer): answer for answer in reversed(different[::step])}
    compared = list(itertools.combinations(reversed(sample.values()), 2))
    pairs = [(a, b) for a, b in compared if counts_as(a, b) or counts_as(b, a)]
    return EqualAnswers(pairs, len(compared))


def quoted(text: str) -> str:
    """An answer as a message may quote it: of a long one its beginning and its end."""
    return repr(text if len(text) <= _LONGEST else f"{text[:18]}...{text[-19:]}")
