"""Texts sampled from θ0, with its hidden states at every token: computed once per model.

On texts x ~ θ0 the expected change of code length, log p_θ0(x) − log p_θ(x), is KL(θ0‖θ) exactly
(arXiv 2509.20758, Proposition 3.1, with P = θ0). Token by token the difference of the two has mean
0 given what came before, wherever a text ends. So nothing may truncate the distribution: the
temperature is 1, and every token can be drawn.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sft_tradeoff.evaluation.base_states import (
    BATCH_TOKENS,
    BaseStates,
    Places,
    hidden_states,
    states_facts,
    vocabulary,
)
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.system.console import UserError, quick_start, run_main

logger = logging.getLogger(__name__)
SEED = 0
SHORTEST_WINDOW = 8  # of an evaluation


def sample(lm: Any, n_texts: int, n_tokens: int) -> list[list[int]]:
    """Sample texts from a model, each up to and including the end that the model chooses.

    Args:
        lm: θ0 in float32, as lm-eval's model class.
        n_texts: Number of texts.
        n_tokens: Tokens of each, at most.

    Returns:
        The new tokens of each text, at least one.
    """
    import torch
    from transformers import GenerationConfig

    start, config = lm.text_start, lm.model.generation_config
    settings = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=n_tokens,
        eos_token_id=config.eos_token_id,
        pad_token_id=lm.tokenizer.pad_token_id,
    )
    ends = set(config.eos_token_id)
    torch.manual_seed(SEED)
    texts: list[list[int]] = []
    n_rows = max(1, BATCH_TOKENS // n_tokens)
    with torch.inference_mode():
        while len(texts) < n_texts:
            ids = torch.tensor([start] * min(n_rows, n_texts - len(texts)), device=lm.device)
            found = lm.model.generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=settings
            )
            texts += [_until_end(row, ends) for row in found[:, len(start) :].tolist()]
    return texts


def _until_end(tokens: list[int], ends: set[int]) -> list[int]:
    last = next((i for i, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return tokens[: last + 1]


def n_bytes(tokenizer: Any, texts: Sequence[Sequence[int]]) -> list[int]:
    """UTF-8 bytes of each text without its special tokens.

    Raises:
        UserError: If texts cannot show anything, because they are empty or all the same.
    """
    decoded = [tokenizer.decode(text, skip_special_tokens=True) for text in texts]
    n_empty, n_different = sum(not text for text in decoded), len(set(decoded))
    if 2 * n_empty > len(texts) or (n_different == 1 and len(texts) > 1):
        raise UserError(
            f"evaluation.sampled_texts: of {len(texts)} texts sampled from θ0, {n_empty} are empty "
            f"and {n_different} different, so they say nothing about code length; check how the "
            "model starts a text, or set it to 0"
        )
    return [len(text.encode()) for text in decoded]


def text_facts(base_model: Path, n_rows: int, n_texts: int, n_tokens: int) -> dict[str, Any]:
    """What hidden states at sampled texts depend on; ``n_rows`` of θ0's head."""
    return states_facts(base_model, n_rows, sampled_texts=n_texts, sampled_tokens=n_tokens)


def write_sampled_texts(base_model: Path, n_texts: int, n_tokens: int, out: Path) -> None:
    """Sample texts from θ0 and write them with its hidden states.

    Args:
        base_model: Folder of θ0.
        n_texts: As of :func:`sample`.
        n_tokens: Likewise.
        out: The file to write.
    """
    from sft_tradeoff.evaluation.load import load_lm

    window = max(SHORTEST_WINDOW, n_tokens + 1)
    lm = load_lm(base_model, EvaluationSpec(dtype="float32", max_length=window))
    texts, start = sample(lm, n_texts, n_tokens), lm.text_start
    sizes = n_bytes(lm.tokenizer, texts)
    # The last token is only predicted.
    whole = [
        (f"text{i:05}", start + new, range(len(start) - 1, len(start) + len(new) - 1))
        for i, new in enumerate(texts)
    ]
    places = Places.of(whole, sizes)
    states = hidden_states(lm.model, places).cpu().numpy()
    facts = text_facts(base_model, vocabulary(lm.model), n_texts, n_tokens)
    BaseStates(places, states, facts).save(out)
    logger.info("%d texts, %d tokens, %d bytes", n_texts, len(places.position), sum(sizes))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff sample-texts``."""
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--texts", type=int, required=True, help="number of texts")
    parser.add_argument("--tokens", type=int, required=True, help="tokens of each, at most")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")


def main(args: argparse.Namespace) -> None:
    """Sample texts from one θ0."""
    with run_main("sample-texts"), quick_start():
        write_sampled_texts(args.base_model, args.texts, args.tokens, args.out)
