"""Draw the splits of a domain from a data set.

The draw depends only on the seed and the examples' ids, not on the order of the rows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sft_tradeoff.domains.base import Splits

if TYPE_CHECKING:
    from sft_tradeoff.domains.base import Example
    from sft_tradeoff.domains.spec import DomainSpec

logger = logging.getLogger(__name__)


def digest(seed: int, *texts: str) -> int:
    """A number in [0, 2⁶⁴) by which texts are ordered at random, reproducibly for a seed."""
    text = "\n".join([str(seed), *texts])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Drawn(NamedTuple):
    """Indices of the drawn examples.

    Args:
        train: Among the candidates of training and validation.
        validation: Among the same candidates.
        test: Among the test's own candidates.
        n_excluded: Candidates in neither split, because they share something with validation.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    n_excluded: int


def draw(spec: DomainSpec, order: np.ndarray, group: np.ndarray, test_order: np.ndarray) -> Drawn:
    """Draw the three splits.

    The test split is a random sample of its candidates. Validation takes whole groups in random
    order; the remaining examples of the last group are not trained on either. Training takes a
    random sample of the rest, or all of it if fewer are left than requested.

    Args:
        spec: Sizes.
        order: [n] uint64 random order of the candidates of training and validation.
        group: [n] uint64 digest of what they share with others, such as a query.
        test_order: [m] uint64 random order of the candidates of the test.

    Raises:
        ValueError: If there are too few candidates.
    """
    validation = np.lexsort((order, group))[: spec.n_validation]
    free = np.flatnonzero(~np.isin(group, group[validation]))
    train = free[np.argsort(order[free], kind="stable")][: spec.n_train]
    test = np.argsort(test_order, kind="stable")[: spec.n_test]
    for split, found in (("test", test), ("validation", validation)):
        if len(found) < getattr(spec, f"n_{split}"):
            raise ValueError(
                f"n_{split}: {getattr(spec, f'n_{split}')} examples requested, but the data set "
                f"has {len(found)}; use n_{split} <= {len(found)}"
            )
    if not len(train):
        raise ValueError(
            f"n_validation: {spec.n_validation} of {len(order)} candidates leave nothing to train "
            "on; lower it"
        )
    if len(train) < spec.n_train:
        logger.info("n_train: %d requested, all %d available are used", spec.n_train, len(train))
    return Drawn(train, validation, test, len(order) - len(free) - len(validation))


def draw_examples(
    spec: DomainSpec,
    candidates: Sequence[tuple[str, Example]],
    test: Sequence[Example],
    shared: str,
) -> Splits:
    """Draw the three splits from examples in memory; see :func:`draw`.

    Args:
        spec: Sizes and seed.
        candidates: For training and validation, each with the text it shares with others.
        test: Candidates for the test split.
        shared: Name of what is shared, such as ``note``.
    """
    drawn = draw(
        spec,
        order=_digests(spec.seed, (example.id for _, example in candidates)),
        group=_digests(spec.seed, (group for group, _ in candidates)),
        test_order=_digests(spec.seed, (example.id for example in test)),
    )
    splits = {
        "train": [candidates[i][1] for i in drawn.train],
        "validation": [candidates[i][1] for i in drawn.validation],
        "test": [test[i] for i in drawn.test],
    }
    return Splits(splits, [excluded_by_validation(drawn, len(candidates), shared)])


def _digests(seed: int, texts: Iterable[str]) -> np.ndarray:
    return np.fromiter((digest(seed, text) for text in texts), dtype=np.uint64)


def left_out(n_left_out: int, n_rows: int, why: str) -> str:
    """Sentence for log and data card: how many training rows are left out, and why."""
    share = n_left_out / max(1, n_rows)
    remark = f"{n_left_out} of {n_rows} training rows ({share:.2%}) are left out: {why}."
    if n_left_out:
        logger.warning("%s", remark)
    return remark


def excluded_by_validation(drawn: Drawn, n_candidates: int, shared: str) -> str:
    """Sentence for log and data card: how many rows are left out because of validation."""
    return left_out(drawn.n_excluded, n_candidates, f"they share their {shared} with validation")
