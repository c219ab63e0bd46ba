"""Divide the lines of the user's file into training, validation and test.

Lines without ``split`` are divided by a hash of the seed and the prompt (up to case, white space
and normal form): first test, then validation, each with one line per prompt; training gets all
lines of the other prompts. ``n_test`` and ``n_validation`` are then met exactly; they are upper
limits if the file gives the splits. ``n_train`` is always an upper limit.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sft_tradeoff.domains.base import SPLITS
from sft_tradeoff.domains.own.lines import Line
from sft_tradeoff.domains.own.problems import group_by_problem, with_example
from sft_tradeoff.domains.own.read import OwnData

if TYPE_CHECKING:
    from sft_tradeoff.domains.own.spec import OwnSpec

MIN_EXAMPLES = 3
MIN_TEST = 2  # a single example has no standard error
_FEW = "at least {} are needed: one to train on and two to test on, as one has no interval"


def assign(data: OwnData, spec: OwnSpec, problems: list[str]) -> Mapping[str, list[Line]]:
    """Return the lines of each split, in the order of their hashes; problems are appended."""
    groups, lines = same_prompts(data, spec.seed), data.lines
    given = {line.split is not None for line in lines}
    if given == {True, False}:
        without = ((line.number, "'split' is missing") for line in lines if line.split is None)
        (problem,) = group_by_problem(without, data.noun)
        problems.append(f"{problem}; give it on all {data.noun}s or on none")
    elif len(lines) < MIN_EXAMPLES:
        if lines or not problems:
            problems.append(f"usable examples: {len(lines)}; {_FEW.format(MIN_EXAMPLES)}")
    elif given == {True}:
        problems += group_by_problem(with_example(_leaks(groups, data.noun), data.noun), data.noun)
        splits = _by_given_split(groups)
        problems += _empty_splits(splits, spec, data.noun)
        return splits
    elif few := _too_few(len(groups), spec):
        problems.append(few)
    return _by_hash(groups, spec)


@functools.lru_cache(maxsize=1)
def same_prompts(data: OwnData, seed: int) -> list[list[Line]]:
    """The lines of each prompt, in the order of the prompts' hashes."""
    lines = data.lines
    digests = [hashlib.sha256(f"{seed}\n{line.key}".encode()).digest() for line in lines]
    in_order = sorted(range(len(lines)), key=digests.__getitem__)
    groups = itertools.groupby(in_order, digests.__getitem__)
    return [[lines[index] for index in group] for _, group in groups]


def _by_given_split(groups: list[list[Line]]) -> dict[str, list[Line]]:
    return {s: [line for group in groups for line in group if line.split == s] for s in SPLITS}


def _by_hash(groups: list[list[Line]], spec: OwnSpec) -> dict[str, list[Line]]:
    """Different prompts in test and validation; all lines of the other prompts in training."""
    remaining = iter(groups)
    test = [first for first, *_ in itertools.islice(remaining, spec.n_test)]
    validation = [first for first, *_ in itertools.islice(remaining, spec.n_validation)]
    return {"train": list(itertools.chain(*remaining)), "validation": validation, "test": test}


def _leaks(groups: list[list[Line]], noun: str) -> Iterator[tuple[int, str, str]]:
    for group in groups:
        first = group[0]
        for line in group[1:]:
            if line.split != first.split:
                yield (
                    line.number,
                    f"same prompt in {line.split} as in {first.split} ({{}}); keep each prompt in "
                    "one split",
                    f"as {noun} {first.number}",
                )


def _empty_splits(splits: Mapping[str, list[Line]], spec: OwnSpec, noun: str) -> Iterator[str]:
    for split in SPLITS:
        if getattr(spec, f"n_{split}") and not splits[split]:
            unread = ", set n_validation: 0" if split == "validation" else ""
            yield (
                f"no {noun} has 'split': {split!r}; add it to some {noun}s{unread}, or remove "
                f"'split' from all {noun}s to have them divided"
            )


def _too_few(n_prompts: int, spec: OwnSpec) -> str | None:
    needed = spec.n_test + spec.n_validation + 1
    if n_prompts == 1:
        return (
            "all prompts are the same, so there is nothing to test on; put what differs (the "
            "question, the text) into 'prompt'"
        )
    if n_prompts < MIN_EXAMPLES:
        return f"different prompts: {n_prompts}; {_FEW.format(MIN_EXAMPLES)}"
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
