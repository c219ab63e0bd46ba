"""A question to simulated studies, and what they answer."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Measurement(NamedTuple):
    """A share of simulated studies.

    Args:
        topic: What is measured, e.g. the difference in accuracy.
        case: What the studies are like.
        rule: The interval or verdict.
        share: Share of studies where the interval covers the truth, or the verdict is given.
        stderr: Standard error of the share.
        expected: The share as stated: coverage, the largest error rate, or the power.
        studies: Number of studies.
    """

    topic: str
    case: str
    rule: str
    share: float
    stderr: float
    expected: float
    studies: int


@dataclass(frozen=True)
class Case(ABC):
    """Studies of one kind.

    Args:
        topic: What is measured.
        name: What the studies are like.
    """

    topic: str
    name: str

    @abstractmethod
    def measure(self, n_studies: int, rng: np.random.Generator) -> Iterator[Measurement]:
        """Draw studies and count."""

    def run(self, n_studies: int, seed: int) -> list[Measurement]:
        """Measure with random numbers of its own: independent of other cases and their order."""
        name = zlib.crc32(f"{self.topic}: {self.name}".encode())
        return list(self.measure(n_studies, np.random.default_rng([seed, name])))

    def measurement(self, rule: str, share: float, studies: int, expected: float) -> Measurement:
        """Put a share into a row, with the error that a share of ``expected`` would have."""
        stderr = math.sqrt(expected * (1 - expected) / studies)
        return Measurement(self.topic, self.name, rule, share, stderr, expected, studies)
