"""Checks of the user's data that need the model's tokenizer, if the model is available already.

For a model that is not fetched yet, later stages make the same checks, or the recommendation page
reports their result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.own.domain import generate
from sft_tradeoff.domains.own.problems import group_by_problem, with_example
from sft_tradeoff.domains.own.read import read_file, report
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.models.supported import load_config, window
from sft_tradeoff.models.token_bound import beginning, fewest_tokens
from sft_tradeoff.models.tokenization import example_name, tokenize_example
from sft_tradeoff.models.tokenized import TokenizationError
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.planning.own_model import folder_of
from sft_tradeoff.study.config import Study
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.text import listing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
UNLIMITED = 10**9
_LONG_PROMPT = "the prompt has more than {} tokens, which leaves none for a response ({{}})"
MOST_TRUNCATED = 0.5  # of a split's responses; with more, too few ends are learned


@dataclass(frozen=True)
class _Measured:
    """Line of an example, and tokens of its prompt and of its whole response.

    Args:
        is_huge: Whether a text is so long that its number is a lower bound.
    """

    line: int
    n_prompt: int
    n_response: int
    is_huge: bool


def check_tokens(study: Study, source: Path) -> None:
    """Refuse examples that do not fit the model's limits.

    Args:
        study: The study that will run.
        source: The file in which its limits can be changed.

    Raises:
        UserError: Listing the lines.
    """
    for domain in study.domains:
        if not isinstance(domain, OwnSpec):
            continue
        splits = _generate(domain, source)
        for model in study.models:
            if folder := folder_of(study, model):
                _check_domain(study, domain, source, splits, model, folder)


def _generate(domain: OwnSpec, source: Path) -> dict[str, list[Example]]:
    try:
        return generate(domain)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error


def _check_domain(
    study: Study,
    domain: OwnSpec,
    source: Path,
    splits: Mapping[str, Sequence[Example]],
    model: str,
    folder: Path,
) -> None:
    tokenizer = load_tokenizer(folder, study.model_catalogue[model].chat_template_args)
    noun = read_file(Path(domain.path), domain.columns).noun
    problems: list[tuple[int, str, str]] = []
    longest = max(study.training.max_length, study.evaluation.max_length)
    measured = {
        split: list(_measure(splits[split], tokenizer, longest, problems))
        for split in ("train", "test")
    }
    _refuse(domain, problems, noun, f"change or remove these {noun}s")
    longer = _longer(measured, domain, study, source, window(load_config(folder)))
    too_long = _too_long(measured, domain, study)
    _refuse(domain, too_long, noun, f"shorten or remove these {noun}s, or {longer}")
    for split, examples in measured.items():
        _check_ends(split, examples, study.training.max_length, noun, longer)


def _refuse(domain: OwnSpec, problems: Iterable[tuple[int, str, str]], noun: str, fix: str) -> None:
    """Raise an error that lists problems with their lines, if there are any."""
    if lines := group_by_problem(with_example(sorted(problems), noun), noun):
        raise UserError(f"{report(Path(domain.path), lines)}\n  {fix}")


def _longer(
    measured: Mapping[str, Sequence[_Measured]],
    domain: OwnSpec,
    study: Study,
    source: Path,
    most: int | None,
) -> str:
    """Advice that names the limits with which all fit, if the model reads so many tokens."""
    train, test = measured["train"], measured["test"]
    n_new = max([domain.max_new_tokens or 0, *(e.n_response for e in test)])
    limits = {
        "training.max_length": (
            study.training.max_length,
            max(e.n_prompt + e.n_response for e in (*train, *test)),
        ),
        "evaluation.max_length": (
            study.evaluation.max_length,
            max(e.n_prompt for e in test) + n_new,
        ),
        "max_new_tokens": (domain.max_new_tokens or n_new, n_new),
    }
    least = "at least " if any(e.is_huge for e in (*train, *test)) else ""
    longest = max(needed for _, needed in limits.values())
    if most is not None and longest > most:
        return f"take a model that reads {least}{longest} tokens (this one reads {most})"
    raised = [
        f"{name} ({given}) to {least}{needed}"
        for name, (given, needed) in limits.items()
        if needed > given
    ]
    return f"raise {' and '.join(raised)} in {source}"


def _measure(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    longest: int,
    problems: list[tuple[int, str, str]],
) -> Iterator[_Measured]:
    """Count tokens; an example that cannot be tokenized becomes a problem of its line.

    Of texts that have more than ``longest`` tokens for certain, no more than needed is tokenized.
    """
    for example in examples:
        line, record = int(example.meta["line"]), example.to_dict()
        texts = [example.prompt, example.system or "", *(t["content"] for t in example.history)]
        n_response = fewest_tokens(tokenizer, example.response)
        if (n_prompt := sum(fewest_tokens(tokenizer, text) for text in texts)) > longest:
            yield _Measured(line, n_prompt, n_response, is_huge=True)
            continue
        record["response"] = beginning(tokenizer, example.response, longest)
        try:
            whole = tokenize_example(tokenizer, record, UNLIMITED)
        except TokenizationError as error:
            problems.append((line, str(error).removeprefix(f"{example_name(record)}: "), ""))
        else:
            n_learned = sum(whole.response_mask)
            n_prompt = len(whole.input_ids) - n_learned
            yield _Measured(line, n_prompt, max(n_learned, n_response), n_response > longest)


def _too_long(
    measured: Mapping[str, Sequence[_Measured]], domain: OwnSpec, study: Study
) -> Iterator[tuple[int, str, str]]:
    """Yield prompts that leave no tokens for a response, and test responses that are too long."""
    most = study.training.max_length - 1
    test = measured["test"]
    kept = [min(e.n_response, study.training.max_length - e.n_prompt) for e in test]
    n_new = domain.max_new_tokens or max(kept, default=0)
    limits = {"train": most, "test": min(most, study.evaluation.max_length - n_new)}
    for split, examples in measured.items():
        for example in examples:
            if example.n_prompt > limits[split]:
                found = f"{'at least ' * example.is_huge}{example.n_prompt} tokens"
                yield example.line, _LONG_PROMPT.format(limits[split]), found
    for example, n_kept in zip(test, kept, strict=True):
        if n_kept > n_new:
            what = f"the response has more tokens than max_new_tokens, {n_new} ({{}})"
            yield example.line, what, f"{example.n_response} tokens"


def _check_ends(
    split: str, examples: Sequence[_Measured], max_length: int, noun: str, longer: str
) -> None:
    """Warn of responses that are truncated; refuse if most are."""
    truncated = sorted(e.line for e in examples if e.n_prompt + e.n_response > max_length)
    if not truncated:
        return
    lines = noun + "s" * (len(truncated) > 1)
    text = (
        f"{len(truncated)} of {len(examples)} {split} responses "
        f"({len(truncated) / len(examples):.0%}) are truncated at training.max_length "
        f"({max_length} tokens), so their ends are not "
        f"{'learned' if split == 'train' else 'scored'} ({lines} {listing(truncated)}); "
        f"to keep all whole, {longer}, or shorten the responses"
    )
    if len(truncated) >= MOST_TRUNCATED * len(examples):
        raise UserError(text)
    logger.warning("warning: %s", text)
