"""θ0's hidden states at a sample of positions of a domain's test prompts.

Every run is later compared with them: KL(θ0‖θ) on the prompts of the new task is said to predict
what training forgets (arXiv 2509.04259). Computed once per model and domain.
"""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from sft_tradeoff.evaluation.base_states import (
    BaseStates,
    Places,
    hidden_states,
    load_base,
    states_facts,
    vocabulary,
)
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.system.console import quick_start, run_main
from sft_tradeoff.system.files import sha256_of

logger = logging.getLogger(__name__)
PER_EXAMPLE = 16  # positions: reading a prompt costs time, a further position in it hardly any
SEED = 0


def prompt_places(data: TokenizedData, n_positions: int) -> Places:
    """Choose positions of prompts, :data:`PER_EXAMPLE` in each of some examples.

    Positions in the prefix that all prompts share (template, instruction) are left out: there is
    one distribution there, not one per example. The last one predicts the response.

    Args:
        data: Tokenized test examples.
        n_positions: Their number; fewer if there are not as many.

    Returns:
        Texts are named after the number of their example.
    """
    prompts = [tokens[: int(mask.argmax())] for tokens, mask in map(data.example, range(len(data)))]
    shared = _shared_prefix(prompts)
    usable = [i for i, prompt in enumerate(prompts) if len(prompt) > shared]
    if not usable:  # one prompt, or the same ones: the position before the response is left
        usable, shared = list(range(len(prompts))), shared - 1
    rng = np.random.default_rng(SEED)
    fewest = min(2, n_positions)  # one example has no standard error
    n_examples = min(len(usable), max(fewest, math.ceil(n_positions / PER_EXAMPLE)))
    chosen = np.sort(rng.choice(usable, n_examples, replace=False))
    texts = []
    for rank, example in enumerate(chosen):
        prompt = prompts[example]
        wanted = n_positions * (rank + 1) // n_examples - n_positions * rank // n_examples
        free = np.arange(shared, len(prompt))
        places = np.sort(rng.choice(free, min(wanted, len(free)), replace=False))
        texts.append((str(example), prompt[: places[-1] + 1].tolist(), places.tolist()))
    return Places.of(texts)


def _shared_prefix(prompts: list[np.ndarray]) -> int:
    """Number of tokens with which all prompts start."""
    shortest = min(map(len, prompts))
    heads = np.stack([prompt[:shortest] for prompt in prompts])  # (n, shortest)
    same = (heads == heads[0]).all(0)
    return shortest if same.all() else int(same.argmin())


def prompt_facts(
    base_model: Path, vocabulary: int, tokens: Path, n_positions: int
) -> dict[str, Any]:
    """What hidden states at prompts depend on."""
    return states_facts(
        base_model, vocabulary, data_sha256=sha256_of(tokens), kl_positions=n_positions
    )


def write_prompt_states(base_model: Path, tokens: Path, n_positions: int, out: Path) -> None:
    """Compute and write θ0's hidden states on one domain's test prompts.

    Args:
        base_model: Folder of θ0.
        tokens: Tokenized test examples.
        n_positions: As of :func:`prompt_places`.
        out: The file to write.
    """
    places = prompt_places(TokenizedData.load(tokens), n_positions)
    model = load_base(base_model)
    facts = prompt_facts(base_model, vocabulary(model), tokens, n_positions)
    states = hidden_states(model, places).cpu().numpy()
    BaseStates(places, states, facts).save(out)
    logger.info("%d positions of %d prompts", len(places.position), len(places.name))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff kl-reference``."""
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--tokens", type=Path, required=True, help="test.npz of the domain")
    parser.add_argument("--positions", type=int, required=True, help="positions of its prompts")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")


def main(args: argparse.Namespace) -> None:
    """Compute θ0's hidden states on the prompts of one domain."""
    with run_main(f"kl-reference {args.tokens.parent.name}"), quick_start():
        write_prompt_states(args.base_model, args.tokens, args.positions, args.out)
