"""How many tokens may be generated for an answer, from the lengths of the right answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sft_tradeoff.domains.registry import get_domain
from sft_tradeoff.system.console import UserError

if TYPE_CHECKING:
    from sft_tradeoff.domains.spec import DomainSpec
    from sft_tradeoff.models.tokenized import TokenizedData

MIN_NEW_TOKENS = 64  # θ0 has not learned to answer as briefly as the responses
MARGIN = 1.25  # a right answer may be longer than the reference


class AnswerLengthError(UserError, ValueError):
    """Right answers would be truncated and count as wrong."""


def max_new_tokens(spec: DomainSpec, test: TokenizedData, max_length: int) -> int:
    """Return the number of tokens that may be generated for each test prompt of a domain.

    In this order: ``max_new_tokens`` of the study; the domain's default, if the longest response
    fits into it; the tokens of the longest response, its end of turn included, plus a margin within
    the window. If a response was truncated, its length is unknown: all that the window allows.

    Args:
        spec: The domain.
        test: Its test examples, tokenized.
        max_length: The window, in tokens of prompt and answer.

    Raises:
        AnswerLengthError: If the longest response does not fit.
    """
    n_response = test.n_supervised
    longest, n_prompt = int(n_response.max()), int((test.lengths - n_response).max())
    is_known = not test.truncated.any()
    usual = spec.max_new_tokens or get_domain(spec.name).max_new_tokens[spec.variant]
    if usual is not None and longest <= usual and (is_known or spec.max_new_tokens is not None):
        return usual
    if spec.max_new_tokens is not None:
        raise AnswerLengthError(
            f"domain {spec.label!r}: max_new_tokens {spec.max_new_tokens} is less than the "
            f"{longest} tokens of the longest right answer (test example "
            f"{int(n_response.argmax()) + 1}), which would be truncated; set {longest} or more, or "
            "null to have it computed"
        )
    if n_prompt + longest > max_length:
        raise AnswerLengthError(
            f"evaluation.max_length: {max_length} is too small for domain {spec.label!r}, whose "
            f"longest test prompt has {n_prompt} tokens and whose longest response {longest}; "
            f"raise it to {n_prompt + longest} or more if the model allows, or shorten the examples"
        )
    wanted = max(MIN_NEW_TOKENS, math.ceil(MARGIN * longest) + 8) if is_known else max_length
    return min(wanted, max_length - n_prompt)
