"""How many tokens an answer may have, from the tokens of the right ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sft_tradeoff.domains.registry import get_domain
from sft_tradeoff.system.console import UserError

if TYPE_CHECKING:
    from sft_tradeoff.domains.spec import DomainSpec
    from sft_tradeoff.models.tokenized import TokenizedData

LEAST = 64  # θ0 has not learned to be as brief as the responses
MARGIN = 1.25  # a right answer may be longer than the one that was given


class RoomError(UserError, ValueError):
    """Right answers would be cut off, and count as wrong."""


def room_for_answers(spec: DomainSpec, test: TokenizedData, max_length: int) -> int:
    """Tokens that may be generated for each test prompt of a domain.

    The study's ``max_new_tokens``; else the domain's own number, if the longest response is within
    it; else the tokens of that one, its end of turn included, and a margin as far as the window
    leaves one. Where a response was cut, nobody knows here how long it is: what the window leaves.

    Args:
        spec: The domain.
        test: Its test examples, tokenized.
        max_length: The window, tokens.

    Raises:
        RoomError: If the longest response does not fit.
    """
    n_response = test.n_supervised
    longest, n_prompt = int(n_response.max()), int((test.lengths - n_response).max())
    is_known = not test.truncated.any()
    usual = spec.max_new_tokens or get_domain(spec.name).max_new_tokens[spec.variant]
    if usual is not None and longest <= usual and (is_known or spec.max_new_tokens is not None):
        return usual
    if spec.max_new_tokens is not None:
        raise RoomError(
            f"domain {spec.label!r}: max_new_tokens {spec.max_new_tokens} is less than the "
            f"{longest} tokens of the longest right answer (test example "
            f"{int(n_response.argmax()) + 1}), which could not be given; set {longest} or more, "
            "or null to have it computed"
        )
    if n_prompt + longest > max_length:
        raise RoomError(
            f"evaluation.max_length: {max_length} is too small for domain {spec.label!r}, whose "
            f"longest test prompt has {n_prompt} tokens and whose longest response {longest}; "
            f"raise it to {n_prompt + longest} or more, as far as the model allows, or shorten them"
        )
    wanted = max(LEAST, math.ceil(MARGIN * longest) + 8) if is_known else max_length
    return min(wanted, max_length - n_prompt)
