"""Write the three splits of a domain and their data card."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from sft_tradeoff.assets.fetch import check_asset
from sft_tradeoff.domains.base import SPLITS, Example
from sft_tradeoff.domains.card import data_card
from sft_tradeoff.domains.registry import DOMAIN_SPEC, get_domain
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.grading.text import question_key
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import atomic_write_text, path_with_checksum
from sft_tradeoff.system.validation import explain


def write_domain(
    spec: DomainSpec, out: Path, sources: Sequence[Path] = (), records: Sequence[Path] = ()
) -> None:
    """Generate a domain and write ``train/validation/test.jsonl`` and ``card.md`` (last).

    Args:
        spec: Settings.
        out: Folder to write.
        sources: Paths of the domain's assets, in the order of ``spec.assets``.
        records: Their ``SOURCE.json``, for the card.

    Raises:
        UserError: If the spec cannot be met, or a prompt appears in two splits.
    """
    domain = get_domain(spec.name)
    for source, record in zip(sources, records, strict=False):
        check_asset(source, record)
    if len(sources) != len(spec.assets):
        raise UserError(
            f"domain {spec.label!r} is read from {len(spec.assets)} assets "
            f"({', '.join(spec.assets)}), got "
            f"{len(sources)}; give the folder of each with --source"
        )
    try:
        splits = domain.generate(spec, *sources)
    except ValueError as error:
        raise UserError(f"domain {spec.label!r}: {error}") from error
    refuse_leakage(splits)
    for split in SPLITS:
        with (
            path_with_checksum(out / f"{split}.jsonl") as path,
            path.open("w", encoding="utf-8") as file,
        ):
            for example in splits[split]:  # one at a time: MetaMathQA has 395,000
                file.write(json.dumps(example.to_dict(), ensure_ascii=False) + "\n")
    atomic_write_text(out / "card.md", data_card(domain, spec, splits, out, records))


def refuse_leakage(splits: dict[str, list[Example]]) -> None:
    """Refuse a prompt that appears in two splits, up to case, white space and normal form.

    Prompts after other system texts or other turns are different prompts.

    Raises:
        UserError: Naming both examples.
    """
    seen: dict[str, tuple[str, str]] = {}
    for split in SPLITS:
        for example in splits[split]:
            key = question_key(example.prompt, example.system, example.history)
            other, other_id = seen.setdefault(key, (split, example.id))
            if other != split:
                raise UserError(
                    f"{split} example {example.id!r} has the same prompt as {other} example "
                    f"{other_id!r}; remove one, or the test would measure memorization"
                )


def parse_domain(text: str) -> DomainSpec:
    """Read the settings of a domain from JSON.

    Raises:
        UserError: If it is no JSON, or a key is unknown, missing or has a wrong value.
    """
    try:
        return DOMAIN_SPEC.validate_json(text)
    except ValidationError as error:
        lines = explain(error, DOMAIN_SPEC.json_schema()).split("\n  ")
        raise UserError(f"--spec: {'; '.join(lines)}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff build-domain``."""
    parser.add_argument("--spec", required=True, help="the domain's settings as JSON")
    parser.add_argument("--source", type=Path, nargs="*", default=[], help="paths of its assets")
    parser.add_argument(
        "--source-record", type=Path, nargs="*", default=[], help="their SOURCE.json files"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def main(args: argparse.Namespace) -> None:
    """Generate one domain from its settings."""
    with run_main("domain"):
        spec = parse_domain(args.spec)
    with run_main(f"domain {spec.label}"):
        write_domain(spec, args.out, args.source, args.source_record)
