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
from sft_tradeoff.domains.own.read import report
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.domains.spec import DomainSpec
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
        is_huge: Whether the response is so long that ``n_response`` is a lower bound.
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
        n_new, window = domain.max_new_tokens, study.evaluation.max_length
        if n_new is not None and n_new >= window:
            raise UserError(
                f"{source}: max_new_tokens ({n_new}) leaves no tokens for a prompt within "
                f"evaluation.max_length ({window}); lower max_new_tokens, or raise max_length"
            )
        splits = _generate(domain, source)
        for tokenizer in filter(None, (_tokenizer(study, model) for model in study.models)):
            _check_domain(study, domain, source, splits, tokenizer)


def _generate(domain: DomainSpec, source: Path) -> dict[str, list[Example]]:
    try:
        return generate(domain) if isinstance(domain, OwnSpec) else {}
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error


def _tokenizer(study: Study, model: str) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer from the cache or the user's folder; None if it is not fetched yet."""
    found = folder_of(study, model)
    variables = study.model_catalogue[model].chat_template_args
    return load_tokenizer(found, variables) if found else None


def _check_domain(
    study: Study,
    domain: DomainSpec,
    source: Path,
    splits: Mapping[str, Sequence[Example]],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    problems: list[tuple[int, str, str]] = []
    longest = max(study.training.max_length, study.evaluation.max_length)
    measured = {
        split: list(_measure(splits[split], tokenizer, longest, problems))
        for split in ("train", "test")
        if split in splits
    }
    _refuse(domain, problems, "change or remove these lines")
    n_new = domain.max_new_tokens or "as many as the longest response needs"
    _refuse(
        domain,
        _too_long(measured, domain, study),
        f"shorten or remove these lines, or raise training.max_length "
        f"({study.training.max_length}) and evaluation.max_length ({study.evaluation.max_length}, "
        f"of which max_new_tokens takes {n_new}) in {source}",
    )
    for split, examples in measured.items():
        _check_ends(split, examples, study.training.max_length, source)


def _refuse(domain: DomainSpec, problems: Iterable[tuple[int, str, str]], fix: str) -> None:
    """Raise an error that lists problems with their lines, if there are any."""
    if lines := group_by_problem(with_example(sorted(problems))):
        raise UserError(f"{report(Path(str(domain.data_file)), lines)}\n  {fix}")


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
        if (n_prompt := sum(fewest_tokens(tokenizer, text) for text in texts)) > longest:
            problems.append((line, _LONG_PROMPT.format(longest), f"at least {n_prompt} tokens"))
            continue
        n_response = fewest_tokens(tokenizer, example.response)
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
    measured: Mapping[str, Sequence[_Measured]], domain: DomainSpec, study: Study
) -> Iterator[tuple[int, str, str]]:
    """Yield prompts that leave no tokens for a response, and test responses that are too long."""
    most = study.training.max_length - 1
    test = measured.get("test", ())
    kept = [min(e.n_response, study.training.max_length - e.n_prompt) for e in test]
    n_new = domain.max_new_tokens or max(kept, default=0)
    limits = {"train": most, "test": min(most, study.evaluation.max_length - n_new)}
    for split, examples in measured.items():
        for example in examples:
            if example.n_prompt > limits[split]:
                yield example.line, _LONG_PROMPT.format(limits[split]), f"{example.n_prompt} tokens"
    for example, n_kept in zip(test, kept, strict=True):
        if n_kept > n_new:
            what = f"the response has more tokens than max_new_tokens, {n_new} ({{}})"
            yield example.line, what, f"{example.n_response} tokens"


def _check_ends(split: str, examples: Sequence[_Measured], max_length: int, source: Path) -> None:
    """Warn of responses that are truncated; refuse if most are."""
    truncated = sorted(e.line for e in examples if e.n_prompt + e.n_response > max_length)
    if not truncated:
        return
    needed = max(e.n_prompt + e.n_response for e in examples)
    is_huge = any(e.is_huge for e in examples)
    enough = f"more than {needed} would be needed" if is_huge else f"{needed} would suffice"
    text = (
        f"{len(truncated)} of {len(examples)} {split} responses "
        f"({len(truncated) / len(examples):.0%}) are truncated at training.max_length "
        f"({max_length} tokens), so their ends are not "
        f"{'learned' if split == 'train' else 'scored'} (lines {listing(truncated)}); "
        f"{enough} for all: raise it and evaluation.max_length in {source}, "
        "or shorten the responses"
    )
    if len(truncated) >= MOST_TRUNCATED * len(examples):
        raise UserError(text)
    logger.warning("warning: %s", text)
