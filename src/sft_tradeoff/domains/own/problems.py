"""Report one problem once, however many lines of the file have it."""

from __future__ import annotations

from collections.abc import Iterable

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
