"""Report one problem once, however many lines of the file have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sft_tradeoff.system.text import listing


def group_by_problem(problems: Iterable[tuple[int, str]], noun: str = "line") -> list[str]:
    """Return one sentence per problem, with the lines that have it: ``lines 3, 5: ...``.

    Args:
        problems: Line number and problem of each line; problems are equal if their texts are.
        noun: What is numbered, in the singular: ``line``, ``row``.

    Returns:
        In the order in which the problems first occur.
    """
    lines: dict[str, dict[int, None]] = {}
    for number, problem in problems:
        lines.setdefault(problem, {})[number] = None
    return [
        f"{noun}{'s' * (len(numbers) > 1)} {listing(numbers)}: {problem}"
        for problem, numbers in lines.items()
    ]


def with_example(
    problems: Iterable[tuple[int, str, str]], noun: str = "line"
) -> Iterator[tuple[int, str]]:
    """Put an example into each problem, the same for all lines that have it.

    Args:
        problems: Line number, problem with ``{}`` for the example, and what this line has there.
        noun: What is numbered, in the singular.

    Yields:
        Line number and problem, for :func:`group_by_problem`.
    """
    examples: dict[str, str] = {}
    for number, problem, detail in problems:
        example = examples.setdefault(problem, f"{noun} {number}: {detail}")
        yield number, problem.replace("{}", example)
