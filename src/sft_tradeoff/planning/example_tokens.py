"""How many tokens the examples of a domain have: counted, or assumed before there are any."""

from __future__ import annotations

from pathlib import Path

from sft_tradeoff.domains.own.read import read_file
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.study.config import Study
from sft_tradeoff.system.console import UserError


class CostError(UserError):
    """A cost cannot be estimated; the message names what is unknown and where to add it."""


def example_tokens(study: Study, model: str, domain: DomainSpec) -> tuple[float, float]:
    """Return mean tokens of prompt and response: counted in tokenized data, or assumed."""
    data = Path("results", study.study, "tokenized", model, str(domain.label), "train.npz")
    longest = study.training.max_length
    if data.is_file():
        tokens = TokenizedData.load(data)
        response = tokens.response_mask.sum() / len(tokens.lengths)
        return float(tokens.lengths.mean() - response), float(response)
    if isinstance(domain, OwnSpec):
        return _own_tokens(domain, longest)
    prompt, response = domain.example_tokens.get(domain.variant, (longest / 4, longest / 4))
    return min(prompt, longest), min(response, longest - min(prompt, longest))


def _own_tokens(domain: OwnSpec, longest: int) -> tuple[float, float]:
    """Mean tokens of the user's prompts and responses, at four bytes per token."""
    try:
        lines = read_file(Path(domain.path), domain.columns).lines
    except ValueError as error:
        raise CostError(str(error)) from None
    texts = [("".join(line.texts), line.response) for line in lines]
    whole, response = (
        min(sum(len(text[i].encode()) for text in texts) / max(len(texts), 1) / 4, longest)
        for i in (0, 1)
    )
    return max(whole - response, 0.0), response
