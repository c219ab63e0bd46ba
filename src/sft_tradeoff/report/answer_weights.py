"""Measure the weight that each method gives to the tokens of the answer, before training.

Writes a table and a page, and warns in the log. Takes seconds: θ0 reads 64 examples, or none where
a method of the study reads θ0's statistics anyway.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.analysis.answer_weights import COLUMNS, STATES, unread, warnings_of
from sft_tradeoff.analysis.tables import rows_of
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.study.spec import MethodSpec
from sft_tradeoff.system.console import quick_start, run_main
from sft_tradeoff.system.files import atomic_write_text, verify_checksum

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from sft_tradeoff.models.tokenized import TokenizedData
    from sft_tradeoff.training.answer_weights import Losses

logger = logging.getLogger(__name__)
STATE_NAMES = dict(zip(STATES, ("θ₀", "form learned"), strict=True))
INTRODUCTION = (
    "The answer is the part of a response that grading reads. *Kept* is its weight under a method, "
    "as a share of the weight that standard SFT gives it: the mean weight of the answer's tokens "
    "over that of all tokens. It is measured with the losses of θ₀, and with those that are left "
    "once the form of the responses has been learned: each token then costs the less of its loss "
    "under θ₀ and under counts of the responses alone, without their prompts. *Gradient* is the "
    "answer's share of Σ w·(1 − p), beside that of standard SFT; *starved* is the share of its "
    "tokens that weigh less than a tenth of the mean."
)


def page(table: pd.DataFrame) -> str:
    """Markdown page of one model and domain.

    Args:
        table: Columns as in :mod:`sft_tradeoff.analysis.answer_weights`.
    """
    first = rows_of(table)[0]
    header = ["Method", "State", "Kept", "Gradient", "SFT's gradient", "Starved", "τ"]
    numbers = ("kept", "gradient_share", "sft_gradient_share", "starved")
    cells = [
        [
            str(row["label"]),
            name,
            *(f"{row[f'{number}_{state}']:.1%}" for number in numbers),
            f"{row[f'tau_{state}']:.3g}".replace("nan", ""),
        ]
        for row in rows_of(table)
        for state, name in STATE_NAMES.items()
    ]
    found = (
        f"{first['n_answer_tokens']} of {first['n_tokens']} response tokens "
        f"({first['answer_share']:.1%}) in {first['n_examples']} examples carry the answer."
    )
    parts = [
        f"# Weight of the answer: {first['model']}, {first['domain']}",
        INTRODUCTION,
        found,
        markdown_table(header, cells, n_left=2) if first["n_answer_tokens"] else "",
        "\n".join(f"- **{text}**" for text in warnings_of(table)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff answer-weights``."""
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--domain", required=True, help="name of the domain that grades answers")
    parser.add_argument("--data", type=Path, required=True, help="training examples, .jsonl")
    parser.add_argument("--tokens", type=Path, required=True, help="the same as tokens, .npz")
    parser.add_argument("--reference", type=Path, help="θ0's statistics on them, if there are any")
    parser.add_argument("--methods", required=True, help="methods with their options, as JSON")
    parser.add_argument("--batch-size", type=int, required=True, help="sequences per step")
    parser.add_argument("--seed", type=int, default=0, help="of the order of examples")
    parser.add_argument(
        "--dtype",
        default="bfloat16",
        choices=["bfloat16", "float32"],
        help="type in which training computes (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, required=True, help=".csv to write, with a page (.md)")


def main(args: argparse.Namespace) -> None:
    """Weigh the answers of one model and domain."""
    with run_main(f"answer-weights {args.data.parent.name}"):
        import pandas as pd

        methods = [MethodSpec.model_validate(method) for method in json.loads(args.methods)]
        rows = [
            {"model": args.base_model.name, "domain": args.data.parent.name, **row}
            for row in _rows(args, methods)
        ]
        table = pd.DataFrame(rows, columns=COLUMNS)
        atomic_write_text(args.out.with_suffix(".md"), page(table))
        text = table.to_csv(index=False, lineterminator="\n")
        atomic_write_text(args.out, text, checksum=True)
        for said in filter(None, (*warnings_of(table), unread(table))):
            logger.warning("warning: %s", said)


def _rows(args: argparse.Namespace, methods: list[MethodSpec]) -> list[dict[str, Any]]:
    with quick_start():
        import numpy as np

        from sft_tradeoff.domains.registry import get_domain
        from sft_tradeoff.models.tokenized import TokenizedData
        from sft_tradeoff.models.tokenizer import load_tokenizer
        from sft_tradeoff.system.records import read_jsonl
        from sft_tradeoff.tokens.answer_tokens import answer_tokens
        from sft_tradeoff.training.answer_weights import first_batches, weigh_answers

        verify_checksum(args.data)
        data, records = TokenizedData.load(args.tokens), list(read_jsonl(args.data))
        tokenizer = load_tokenizer(args.base_model)
    batches = first_batches(data, args.batch_size, args.seed)
    rows = np.concatenate(batches)
    is_answer = answer_tokens(tokenizer, data, records, get_domain(args.domain).score, rows)
    losses = _losses(args, methods, data, rows, len(tokenizer))
    return list(weigh_answers(data, batches, is_answer, losses, methods))


def _losses(
    args: argparse.Namespace,
    methods: list[MethodSpec],
    data: TokenizedData,
    rows: np.ndarray,
    vocabulary: int,
) -> Losses:
    """Losses under θ0: from the study's statistics, and from θ0 where these are not enough."""
    from sft_tradeoff.objectives.registry import METHODS
    from sft_tradeoff.tokens.form import form_nll
    from sft_tradeoff.training.answer_weights import Losses, theta0_losses
    from sft_tradeoff.training.reference import load_reference_nll

    options = [METHODS[method.name].options(**method.options) for method in methods]
    nll = entropy = None
    if args.reference:
        nll = load_reference_nll(args.reference, args.tokens, args.base_model, args.dtype)
    if nll is None or any("entropy_top20" in option.needs for option in options):
        found, entropy = theta0_losses(_theta0(args), data, rows)
        nll = found if nll is None else nll
    return Losses(nll, entropy, form_nll(data, vocabulary, rows.tolist()))


def _theta0(args: argparse.Namespace) -> Any:
    import torch

    from sft_tradeoff.models.load import load_model
    from sft_tradeoff.system.allocator import keep_freed_memory
    from sft_tradeoff.system.processor import type_here

    keep_freed_memory()
    model = load_model(args.base_model, getattr(torch, type_here(args.dtype))).eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")
