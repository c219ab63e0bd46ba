"""Fine-tune one model on one domain with one method, from a resolved configuration."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.runs import RunConfig, read_config
from sft_tradeoff.system.console import UserError, quick_start, run_main
from sft_tradeoff.training.resume import exclusive
from sft_tradeoff.training.train import train

if TYPE_CHECKING:
    from sft_tradeoff.training.epochs import Selection


def selection_of(
    config: RunConfig, base_model: Path, data: Path | None, tokens: Path | None
) -> Selection | None:
    """What chooses the weights of a run; None if it keeps the last ones.

    Args:
        config: The resolved run.
        base_model: Folder of θ0.
        data: ``validation.jsonl`` of its domain, if the run reads it.
        tokens: The same examples, tokenized.

    Raises:
        UserError: If the examples are missing or unusable.
    """
    if config.validation is None:
        return None
    if data is None or tokens is None:
        raise UserError(
            f"run {config.run!r}: training.select is best_domain, which needs the validation "
            "examples; add --validation and --validation-tokens"
        )
    with quick_start():
        from sft_tradeoff.selection.best_domain import BestOnDomain
        from sft_tradeoff.selection.validation import Validation

        tokenizer = load_tokenizer(base_model)
        evaluation = config.validation.evaluation
        validation = Validation.read(config.domain, evaluation, data, tokens, tokenizer)
    return BestOnDomain(validation)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff train``."""
    parser.add_argument(
        "--config", required=True, help="resolved configuration of the run: JSON, or a JSON file"
    )
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--data", type=Path, required=True, help="tokenized training split, .npz")
    parser.add_argument("--validation", type=Path, help="validation.jsonl, for select: best_domain")
    parser.add_argument("--validation-tokens", type=Path, help="the same examples, .npz")
    parser.add_argument("--reference", type=Path, help="θ0's per-token losses, .parquet")
    parser.add_argument("--state", type=Path, help="folder for resume points")
    parser.add_argument("--out", type=Path, required=True, help="folder for the final weights")


def main(args: argparse.Namespace) -> None:
    """Train one run from its resolved configuration."""
    config = read_config(RunConfig, args.config)
    with run_main(f"train {config.run}"), exclusive(args.state):
        if os.environ.get("RANK", "0") != "0":
            logging.disable(logging.INFO)  # all ranks would log the same
        base_model = args.base_model
        selection = selection_of(config, base_model, args.validation, args.validation_tokens)
        train(config, base_model, args.data, args.out, args.state, args.reference, selection)
