"""Divide the lines of the user's file into training, validation and test.

Lines without ``split`` are divided by a hash of the seed and the prompt (up to case, white space
and normal form): first test, then validation, each with one line per prompt; training gets all
lines of the other prompts. ``n_test`` and ``n_validation`` are then met exactly; they are upper
limits if the file gives the splits. ``n_train`` is always an upper limit.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sft_tradeoff.domains.base import SPLITS
from sft_tradeoff.domains.own.lines import Line

if TYPE_CHECKING:
    from sft_tradeoff.domains.own.spec import OwnSpec

MIN_EXAMPLES = 3
MIN_TEST = 2  # a single example has no standard error
_FEW = "at least {} are needed: one to train on and two to test on, as one has no interval"


def assign(lines: Sequence[Line], spec: OwnSpec, problems: list[str]) -> Mapping[str, list[Line]]:
    """Return the lines of each split, in the order of their hashes; problems are appended."""
    copies: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        copies[line.key].append(line)
    groups = [copies[prompt] for prompt in sorted(copies, key=lambda p: _digest(spec.seed, p))]
    given = {line.split is not None for line in lines}
    if given == {True, False}:
        without = next(line.number for line in lines if line.split is None)
        problems.append(f"line {without}: 'split' is missing; give it on all lines or on none")
    elif len(lines) < MIN_EXAMPLES:
        problems.append(f"{len(lines)} usable examples; {_FEW.format(MIN_EXAMPLES)}")
    elif given == {True}:
        problems += _leaks(groups)
        splits = _by_given_split(groups)
        problems += _empty_splits(splits, spec)
        return splits
    elif len(groups) < MIN_EXAMPLES:
        problems.append(f"different prompts: {len(groups)}; {_FEW.format(MIN_EXAMPLES)}")
    elif problem := _too_few(len(groups), spec):
        problems.append(problem)
    return _by_hash(groups, spec)


def _digest(seed: int, prompt: str) -> str:
    return hashlib.sha256(f"{seed}\n{prompt}".encode()).hexdigest()


def _by_given_split(groups: list[list[Line]]) -> dict[str, list[Line]]:
    return {s: [line for group in groups for line in group if line.split == s] for s in SPLITS}


def _by_hash(groups: list[list[Line]], spec: OwnSpec) -> dict[str, list[Line]]:
    """Different prompts in test and validation; all lines of the other prompts in training."""
    remaining = iter(groups)
    test = [first for first, *_ in itertools.islice(remaining, spec.n_test)]
    validation = [first for first, *_ in itertools.islice(remaining, spec.n_validation)]
    return {"train": list(itertools.chain(*remaining)), "validation": validation, "test": test}


def _leaks(groups: list[list[Line]]) -> Iterator[str]:
    for group in groups:
        first = group[0]
        for line in group[1:]:
            if line.split != first.split:
                yield (
                    f"line {line.number}: same prompt in {line.split} as on line {first.number} "
                    f"in {first.split}; keep it in one split"
                )


def _empty_splits(splits: Mapping[str, list[Line]], spec: OwnSpec) -> Iterator[str]:
    for split in SPLITS:
        if getattr(spec, f"n_{split}") and not splits[split]:
            unread = ", set n_validation: 0" if split == "validation" else ""
            yield (
                f"no line has 'split': {split!r}; add it to some lines{unread}, or remove "
                "'split' from all lines to have them divided"
            )


def _too_few(n_prompts: int, spec: OwnSpec) -> str | None:
    needed = spec.n_test + spec.n_validation + 1
    if n_prompts >= needed:
        return None
    return (
        f"{n_prompts} different prompts, but n_test {spec.n_test} + n_validation "
        f"{spec.n_validation} + at least 1 to train on need {needed}; lower n_test or n_validation"
    )


def too_few_to_test(test: Sequence[Line], spec: OwnSpec) -> Iterator[str]:
    """Yield the problem of a test split without at least two different prompts."""
    reason = f"test on at least {MIN_TEST} different prompts, as one has no interval"
    if spec.n_test < MIN_TEST:
        yield f"n_test: {spec.n_test} is too small; {reason}"
    elif (n_prompts := len({line.key for line in test})) < MIN_TEST:
        yield f"the lines with 'split': 'test' have {n_prompts} different prompt; {reason}"
