"""Tokenize one split of a domain for one model."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.domains.base import itself
from sft_tradeoff.models.tokenization import tokenize_example
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_text, verify_checksum
from sft_tradeoff.system.records import read_jsonl

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def tokenize_file(
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    max_length: int,
    cluster: Callable[[Mapping[str, Any]], str] = itself,
) -> TokenizedData:
    """Tokenize one split and warn if responses are truncated.

    Args:
        tokenizer: With the model's chat template.
        path: JSONL with ``prompt`` and ``response``.
        max_length: Largest number of tokens per example.
        cluster: Record → name of its independent unit, see
            :class:`~sft_tradeoff.domains.base.Domain`.

    Raises:
        DamagedFileError: If the file has changed since it was written.
        TokenizationError: See :func:`tokenize_example`.
    """
    verify_checksum(path)
    records = list(read_jsonl(path))
    examples = [tokenize_example(tokenizer, r, max_length) for r in records]
    truncated = sum(e.truncated for e in examples)
    if truncated:
        logger.warning(
            "%s: %d of %d responses truncated at %d tokens; raise training.max_length to keep "
            "them whole",
            path.name,
            truncated,
            len(examples),
            max_length,
        )
    return TokenizedData.from_examples(examples, map(cluster, records))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff tokenize``."""
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--domain", required=True, help="name of the domain that grades answers")
    parser.add_argument("--data", type=Path, required=True, help="JSONL with prompt and response")
    parser.add_argument("--max-length", type=int, required=True, help="maximum tokens per example")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write, with a card (.md)")


def main(args: argparse.Namespace) -> None:
    """Tokenize one split, run the round-trip check, and write tokens and card."""
    from sft_tradeoff.domains.registry import get_domain
    from sft_tradeoff.models.tokenizer import generation_ends, load_tokenizer
    from sft_tradeoff.tokens.card import token_card
    from sft_tradeoff.tokens.round_trip import check_round_trip

    with run_main(__name__):
        tokenizer = load_tokenizer(args.model)
        domain = get_domain(args.domain)
        data = tokenize_file(tokenizer, args.data, args.max_length, domain.cluster)
        ends = generation_ends(args.model)
        check_round_trip(tokenizer, ends, data, read_jsonl(args.data), domain.score)
        title = f"{args.model.name}, {args.data.parent.name}, {args.data.stem}"
        atomic_write_text(args.out.with_suffix(".md"), token_card(data, title, args.max_length))
        data.save(args.out)
