"""The user's own domain: one JSON object per line, with a prompt and a response or a chat.

Accepted keys of a line: ``prompt`` and ``response``, or ``messages`` (an optional system turn, one
user turn, the assistant's turn); and, optionally, ``answer`` (what is graded; default: the
response), ``split`` (on all lines or on none). Other keys are ignored. All problems of the file
are reported together, by line; a file of another kind is one problem, with the way to convert it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.domains.answers import normalise
from sft_tradeoff.domains.base import SPLITS, Domain, Example
from sft_tradeoff.domains.jsonl_answers import equal_answers, score, ungradable
from sft_tradeoff.domains.jsonl_kinds import other_kind

if TYPE_CHECKING:
    from sft_tradeoff.specs import DomainSpec

logger = logging.getLogger(__name__)

MAX_LISTED = 20
MIN_EXAMPLES = 3
_SPLIT_ORDER = ("test", "validation", "train")
_FEW = "at least {} are needed: one to train on, and two to test on, as one alone has no interval"
_MEND = "correct or remove the line"


@dataclass(frozen=True)
class _Line:
    number: int
    prompt: str
    response: str
    answer: str
    split: str | None


def generate(spec: DomainSpec) -> dict[str, list[Example]]:
    """Read the file and split it.

    Lines without ``split`` are divided by a hash of the seed and the prompt (up to case and white
    space), so that copies of a prompt stay together: first the test split is filled, then
    validation, then training. ``n_test`` and ``n_validation`` are met exactly there, and are
    upper limits where the file gives the splits; ``n_train`` is always an upper limit.

    Raises:
        ValueError: Listing all problems of the file, or naming the size to lower.
    """
    path = Path(str(spec.path))
    problems: list[str] = []
    lines = _read(path, problems)
    splits = _assign(lines, spec, problems)
    labels = sorted({line.answer for line in lines}) if spec.metric == "choice" else []
    meta = {"metric": spec.metric, "tolerance": spec.tolerance, "labels": labels}
    problems += ungradable(lines, meta)
    equal, are_most = equal_answers(lines, meta) if not problems else ("", False)
    problems += [equal] * are_most
    if problems:
        raise ValueError(report(path, problems))
    _say_once(path, (equal,) * bool(equal))
    sizes = {"train": spec.n_train, "validation": spec.n_validation, "test": spec.n_test}
    return {
        split: [_example(split, i, line, meta) for i, line in enumerate(splits[split][:size])]
        for split, size in sizes.items()
    }


@functools.cache
def _say_once(path: Path, remarks: tuple[str, ...]) -> None:
    """Log remarks; `make own` reads one file several times."""
    for remark in remarks:
        logger.warning("warning: %s: %s", path, remark)


def marked_splits(path: Path) -> Counter[str]:
    """How many lines the file itself marks for each split; empty if it leaves that to us."""
    return Counter(line.split for line in _read(path, []) if line.split is not None)


def _read(path: Path, problems: list[str]) -> list[_Line]:
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
                lines.append(_parse(number, content))
            except ValueError as error:
                problems.append(f"line {number}: {error}")
    return lines


def _parse(number: int, content: bytes) -> _Line:
    try:
        data = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        what = f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
        raise ValueError(f"not valid JSON: {what}; {_MEND}") from None
    except RecursionError:
        raise ValueError(f"not valid JSON: nested too deeply; {_MEND}") from None
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object, got {type(data).__name__}; {_MEND}")
    if "messages" in data:
        prompt, response = _from_messages(data)
    else:
        prompt, response = _text(data, "prompt"), _text(data, "response")
    answer = _text(data, "answer").strip() if "answer" in data else response.strip()
    split = data.get("split")
    if split is not None and split not in SPLITS:
        raise ValueError(f"split: {split!r} is unknown; use one of {', '.join(SPLITS)}")
    return _Line(number, prompt, response, answer, split)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"not valid JSON: {name}; {_MEND}")


def _text(data: Mapping[str, Any], key: str) -> str:
    """A text that is not empty; a number is taken as its text."""
    if key not in data:
        known = ", ".join(data) or "none"
        raise ValueError(f"{key!r} is missing (keys: {known}); add it, or use 'messages'")
    value = data[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"{key!r} must be a text, got {type(value).__name__}; {_MEND}")
    if not value.strip():
        raise ValueError(f"{key!r} is empty; {_MEND}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(
            f"{key!r} holds half of a surrogate pair, which no file can store; {_MEND}"
        )
    return value


def _from_messages(data: Mapping[str, Any]) -> tuple[str, str]:
    """Prompt and response of a chat of one user turn; a system turn comes first in the prompt."""
    if "prompt" in data or "response" in data:
        raise ValueError("give either 'messages' or 'prompt' and 'response', not both")
    turns = data["messages"]
    if not (isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns)):
        raise ValueError("'messages' must be a list of objects with 'role' and 'content'")
    roles = [turn.get("role") for turn in turns]
    if roles[-1] != "assistant":
        raise ValueError(
            f"'messages' ends with the role {roles[-1]}; the last turn must be the assistant's, "
            "which is what is learned"
        )
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise ValueError(
            f"'messages' has the roles {', '.join(map(str, roles))}; only [system,] user, "
            "assistant is supported: split a conversation of several turns into several lines"
        )
    *before, response = (_text(turn, "content") for turn in turns)
    return "\n\n".join(before), response


def _assign(lines: list[_Line], spec: DomainSpec, problems: list[str]) -> Mapping[str, list[_Line]]:
    """Lines of each split, in the order of their hash."""
    copies: defaultdict[str, list[_Line]] = defaultdict(list)
    for line in lines:
        copies[normalise(line.prompt)].append(line)
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
    elif problem := _too_few(len(groups), spec):
        problems.append(problem)
    return _by_hash(groups, spec)


def _digest(seed: int, prompt: str) -> str:
    return hashlib.sha256(f"{seed}\n{prompt}".encode()).hexdigest()


def _by_given_split(groups: list[list[_Line]]) -> dict[str, list[_Line]]:
    return {s: [line for group in groups for line in group if line.split == s] for s in SPLITS}


def _by_hash(groups: list[list[_Line]], spec: DomainSpec) -> dict[str, list[_Line]]:
    """Fill test, validation and train in turn with whole groups; copies may overfill a split."""
    splits: dict[str, list[_Line]] = {split: [] for split in SPLITS}
    remaining: Iterator[list[_Line]] = iter(groups)
    for split in _SPLIT_ORDER:
        size = getattr(spec, f"n_{split}")
        while len(splits[split]) < size and (group := next(remaining, None)) is not None:
            splits[split] += group
    return splits


def _leaks(groups: list[list[_Line]]) -> Iterator[str]:
    for group in groups:
        first = group[0]
        for line in group[1:]:
            if line.split != first.split:
                yield (
                    f"line {line.number}: same prompt in {line.split} as on line {first.number} "
                    f"in {first.split}; keep it in one split"
                )


def _empty_splits(splits: Mapping[str, list[_Line]], spec: DomainSpec) -> Iterator[str]:
    for split in SPLITS:
        if getattr(spec, f"n_{split}") and not splits[split]:
            unread = ", set n_validation: 0" if split == "validation" else ""
            yield (
                f"no line has 'split': {split!r}; mark some lines so{unread}, or remove 'split' "
                "from all lines to have them divided"
            )


def _too_few(n_prompts: int, spec: DomainSpec) -> str | None:
    needed = spec.n_test + spec.n_validation + 1
    if n_prompts >= needed:
        return None
    return (
        f"{n_prompts} different prompts, but n_test {spec.n_test} + n_validation "
        f"{spec.n_validation} + at least 1 to train on need {needed}; lower n_test or n_validation"
    )


def report(path: Path, problems: Sequence[str]) -> str:
    """Message that lists what is wrong with a file, so many of the problems as can be read."""
    listed = [f"  {problem}" for problem in problems[:MAX_LISTED]]
    if len(problems) > MAX_LISTED:
        listed.append(f"  ... and {len(problems) - MAX_LISTED} more")
    return "\n".join([f"path: {str(path)!r} cannot be used:", *listed])


def _example(split: str, index: int, line: _Line, meta: Mapping[str, Any]) -> Example:
    return Example(
        id=f"jsonl-{split}-{index:05d}",
        prompt=line.prompt,
        response=line.response,
        answer=line.answer,
        meta={**meta, "line": line.number},
    )


DOMAIN = Domain(
    name="jsonl",
    variants=("response",),
    description="The user's own prompts and responses, read from a JSONL file.",
    source="A local file given by the user.",
    licence="as stated by the user",
    generate=generate,
    score=score,
    max_new_tokens={"response": 256},
)
