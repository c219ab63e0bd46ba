"""Check the data of `make own`, and choose the sizes of its splits."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sft_tradeoff.domains.base import only_answer
from sft_tradeoff.domains.own.domain import check, divide
from sft_tradeoff.domains.own.lines import Line
from sft_tradeoff.domains.own.read import OwnData, read_file
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.domains.own.splits import MIN_TEST, same_prompts
from sft_tradeoff.grading.text import normalize
from sft_tradeoff.study.config import TEMPLATE_PATH
from sft_tradeoff.study.names import slug
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.text import listing, shown
from sft_tradeoff.system.validation import explain

_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
logger = logging.getLogger(__name__)
TEST_SHARE = 5  # one prompt in five
EVERYTHING = 10**9
FEW = 20  # test examples; fewer are said to be few


def check_data(data: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the domain's entry in the study file, with sizes that fit the data.

    Args:
        data: The user's file.
        settings: The template's entry; its ``n_train`` and ``n_test`` are upper limits.

    Raises:
        ValueError: Listing all problems of the file.
    """
    if _UNUSABLE.search(str(data)):
        raise ValueError(
            f"path: {str(data)!a} has a character that not every program can read in a path "
            "(a control character, a line break, or not UTF-8); rename it"
        )
    label = f"own-{slug(data.stem)}"
    entry = settings | {"path": str(data), "label": label, "n_validation": 0}
    content = read_file(data, _spec(entry).columns)
    lines = content.lines
    marked = Counter(line.split for line in lines if line.split is not None)
    # Splits that the file marks are truncated to these sizes; otherwise the test gets the minimum.
    sizes = {"n_train": EVERYTHING, "n_test": EVERYTHING if marked else MIN_TEST}
    prompts = same_prompts(content, _spec(entry).seed)
    n_test = marked["test"] if marked else len(prompts) // TEST_SHARE
    if n_test < MIN_TEST and not marked and not content.problems:
        raise ValueError(_too_few(data, len(prompts)))
    meta = check(content, _spec(entry | sizes))
    if n_test < MIN_TEST:
        raise ValueError(_too_few(data, len(prompts)))
    entry |= {"n_test": min(entry["n_test"], n_test)}
    splits = divide(content, _spec(entry), meta)
    unread = marked["validation"]
    used = len(splits["train"]), len(splits["test"])
    why = f" ({unread} marked 'validation', which this study does not read)" if unread else ""
    few = " (few, so only large effects will show)" if used[1] < FEW else ""
    text = "%s: %d training examples, %d test examples%s, %d left out%s"
    logger.info(text, data, *used, few, len(lines) - sum(used), why)
    if (only := only_answer(splits["test"])) is not None:
        logger.warning("warning: %s: %s", data, only)
    _warn_of_contradictions(content, prompts)
    if meta["labels"]:
        _tell_labels(content)
    return entry


def _tell_labels(data: OwnData) -> None:
    """Log how often each label of metric ``choice`` occurs; warn of those that occur once."""
    counts = Counter(line.answer for line in data.lines)
    labels = listing((f"{shown(label)} {n}" for label, n in counts.most_common()), limit=20)
    logger.info("%s: labels with their numbers: %s", data.path, labels)
    if once := sum(n == 1 for n in counts.values()):
        text = (
            "warning: %s: %d of %d labels occur once, so they are either learned or tested, not "
            "both; metric exact_match is for free text"
        )
        logger.warning(text, data.path, once, len(counts))


def _warn_of_contradictions(data: OwnData, prompts: list[list[Line]]) -> None:
    """Warn of prompts with several answers; not an error, because all may be intended."""
    several = [[line for line in g if line.split != "validation"] for g in prompts if len(g) > 1]
    differing = [g for g in several if len({normalize(line.answer) for line in g}) > 1]
    if differing:
        numbers = (
            listing((line.number for line in group), limit=3, separator=", ")
            for group in sorted(differing, key=lambda group: group[0].number)
        )
        text = (
            "warning: %s: %s different answers (%ss %s); a model gives one of them, and the others "
            "count as wrong: keep one, unless all are intended"
        )
        listed = listing(numbers, separator="; ")
        n = len(differing)
        have = "1 prompt has" if n == 1 else f"{n} prompts have"
        logger.warning(text, data.path, have, data.noun, listed)


def _too_few(data: Path, n_prompts: int) -> str:
    return (
        f"path: {str(data)!r} has {n_prompts} different "
        f"prompt{'s' * (n_prompts > 1)}; at least "
        f"{MIN_TEST * TEST_SHARE} are needed: one in {TEST_SHARE} is kept for the test, and "
        "a single test item gives no interval"
    )


def _spec(entry: dict[str, Any]) -> OwnSpec:
    try:
        return OwnSpec.model_validate(entry)
    except ValidationError as error:
        problems = explain(error, OwnSpec.model_json_schema())
        raise UserError(f"{TEMPLATE_PATH} or an option:\n  {problems}") from None
