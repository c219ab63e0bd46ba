"""The user's own domain: one JSON object per line, with a prompt and a response or a chat.

Keys of a line: ``prompt`` and ``response``, or ``messages`` (an optional system turn, one user
turn, the assistant's turn); optionally ``system``, ``answer`` (the gold answer; default: the
response) and ``split`` (on all lines or on none). Keys that would change what is learned are
refused, others are counted in the log. All problems of the file are reported together, by line; a
file in another format is one problem, with a command that converts it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.domains.base import SPLITS, Domain, Example
from sft_tradeoff.domains.jsonl import remarks as jsonl_remarks
from sft_tradeoff.domains.jsonl.answers import equal_answers, score, ungradable
from sft_tradeoff.domains.jsonl.kinds import other_kind
from sft_tradeoff.domains.jsonl.lines import Line, parse_line
from sft_tradeoff.system.text import listing

if TYPE_CHECKING:
    from sft_tradeoff.domains.jsonl.spec import JsonlSpec

MAX_LISTED = 20
MIN_EXAMPLES = 3
MIN_TEST = 2  # a single example has no standard error
_FEW = "at least {} are needed: one to train on and two to test on, as one has no interval"


def generate(spec: JsonlSpec) -> dict[str, list[Example]]:
    """Read the file and split it.

    Lines without ``split`` are divided by a hash of the seed and the prompt (up to case, white
    space and normal form): first test, then validation, each with one line per prompt; training
    gets all lines of the other prompts. ``n_test`` and ``n_validation`` are then met exactly; they
    are upper limits if the file gives the splits. ``n_train`` is always an upper limit.

    Raises:
        ValueError: With all problems of the file, or the size to lower.
    """
    path = Path(spec.path)
    problems: list[str] = []
    lines = read_lines(path, problems)
    splits = _assign(lines, spec, problems)
    labels = sorted({line.answer for line in lines}) if spec.metric == "choice" else []
    meta = {"metric": spec.metric, "tolerance": spec.tolerance, "labels": labels}
    problems += ungradable(lines, meta)
    if not problems:
        problems += _too_few_to_test(splits["test"][: spec.n_test], spec)
    equal, are_most = equal_answers(lines, meta) if not problems else ("", False)
    problems += [equal] * are_most
    if problems:
        raise ValueError(report(path, problems))
    jsonl_remarks.tell(path, lines, [equal] * bool(equal))
    sizes = {"train": spec.n_train, "validation": spec.n_validation, "test": spec.n_test}
    return {
        split: [_example(split, i, line, meta) for i, line in enumerate(splits[split][:size])]
        for split, size in sizes.items()
    }


def read_lines(path: Path, problems: list[str]) -> list[Line]:
    """All usable lines of a file; problems of the others are added to ``problems``.

    Raises:
        ValueError: If it cannot be read, or is not a JSONL file.
    """
    try:
        raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise ValueError(
            f"path: cannot read {str(path)!r}: {error.strerror}; give a JSONL file, with "
            "one JSON object per line"
        ) from None
    if kind := other_kind(path, raw):
        raise ValueError(report(path, [kind]))
    lines = []
    for number, content in enumerate(raw.split(b"\n"), start=1):
        if content.strip():
            try:
                lines.append(parse_line(number, content))
            except ValueError as error:
                problems.append(f"line {number}: {error}")
    return lines


def _assign(lines: list[Line], spec: JsonlSpec, problems: list[str]) -> Mapping[str, list[Line]]:
    """The lines of each split, in the order of their hashes."""
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


def _by_hash(groups: list[list[Line]], spec: JsonlSpec) -> dict[str, list[Line]]:
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


def _empty_splits(splits: Mapping[str, list[Line]], spec: JsonlSpec) -> Iterator[str]:
    for split in SPLITS:
        if getattr(spec, f"n_{split}") and not splits[split]:
            unread = ", set n_validation: 0" if split == "validation" else ""
            yield (
                f"no line has 'split': {split!r}; add it to some lines{unread}, or remove "
                "'split' from all lines to have them divided"
            )


def _too_few(n_prompts: int, spec: JsonlSpec) -> str | None:
    needed = spec.n_test + spec.n_validation + 1
    if n_prompts >= needed:
        return None
    return (
        f"{n_prompts} different prompts, but n_test {spec.n_test} + n_validation "
        f"{spec.n_validation} + at least 1 to train on need {needed}; lower n_test or n_validation"
    )


def _too_few_to_test(test: Sequence[Line], spec: JsonlSpec) -> Iterator[str]:
    reason = f"test on at least {MIN_TEST} different prompts, as one has no interval"
    if spec.n_test < MIN_TEST:
        yield f"n_test: {spec.n_test} is too small; {reason}"
    elif (n_prompts := len({line.key for line in test})) < MIN_TEST:
        yield f"the lines with 'split': 'test' have {n_prompts} different prompt; {reason}"


def report(path: Path, problems: Sequence[str]) -> str:
    """Message that lists the problems of a file, up to a readable number."""
    lines = listing(problems, MAX_LISTED, separator="\n  ")
    return f"path: {str(path)!r} cannot be used:\n  {lines}"


def _example(split: str, index: int, line: Line, meta: Mapping[str, Any]) -> Example:
    return Example(
        id=f"jsonl-{split}-{index:05d}",
        prompt=line.prompt,
        response=line.response,
        answer=line.answer,
        meta={**meta, "line": line.number},
        system=line.system,
    )


DOMAIN = Domain(
    description="The user's own prompts and responses, read from a JSONL file.",
    source="A local file given by the user.",
    license="as stated by the user",
    generate=generate,
    score=score,
    max_new_tokens={"response": None},
)
