"""Check that nothing is tested that a model's θ0 was already trained on.

Within a domain its own splits are kept apart when they are written. A model that starts from a run
has seen the training examples of that run's domain, too, and they may be drawn from the same source
as the examples that are trained on and tested later.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_tradeoff.domains.base import SPLITS
from sft_tradeoff.grading.text import question_key
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import atomic_write_json, verify_checksum
from sft_tradeoff.system.records import read_jsonl

logger = logging.getLogger(__name__)


def check_apart(model: str, trained_on: Sequence[Path], domains: Sequence[Path]) -> dict[str, Any]:
    """Refuse validation and test examples whose prompts θ0 was trained on.

    Prompts are compared up to case, white space and normal form, each after its system text and
    earlier turns, as between the splits of one domain.

    Args:
        model: The model that starts from a run.
        trained_on: Folders of the domains that θ0 was trained on, as ``build-domain`` writes them.
        domains: Folders of all domains of the study.

    Returns:
        ``trained_on`` and ``tested``: domain -> number of its examples; ``trained_again``: domain
        -> number of its training examples that θ0 was trained on, which is no error.

    Raises:
        UserError: Naming the first such example, how many there are, and the fix.
    """
    seen: dict[str, tuple[Path, str]] = {}
    n_trained = {}
    for folder in trained_on:
        found = dict(_prompts(folder / f"{SPLITS[0]}.jsonl"))
        n_trained[folder.name] = len(found)
        seen |= {key: (folder, name) for key, name in found.items()}
    tested, again = {}, {}
    for folder in domains:
        splits = {split: dict(_prompts(folder / f"{split}.jsonl")) for split in SPLITS}
        again[folder.name] = len(splits.pop(SPLITS[0]).keys() & seen.keys())
        for split, examples in splits.items():
            _refuse_seen(model, folder, split, examples, seen)
        tested[folder.name] = sum(map(len, splits.values()))
    return {"trained_on": n_trained, "tested": tested, "trained_again": again}


def _prompts(path: Path) -> Iterator[tuple[str, str]]:
    """What tells an example's prompt from others, and the example's id."""
    verify_checksum(path)
    for record in read_jsonl(path):
        key = question_key(record["prompt"], record.get("system"), record.get("history") or ())
        yield key, str(record["id"])


def _refuse_seen(
    model: str,
    folder: Path,
    split: str,
    examples: Mapping[str, str],
    seen: Mapping[str, tuple[Path, str]],
) -> None:
    both = [(key, name) for key, name in examples.items() if key in seen]
    if not both:
        return
    first, name = both[0]
    start, trained = seen[first]
    raise UserError(
        f"model {model!r}: {len(both)} of {len(examples)} {split} examples of domain "
        f"{folder.name!r} have the prompt of an example that its θ0 was trained on ({name!r} is "
        f"{trained!r} of domain {start.name!r}), so the {split} would measure memorization; give "
        f"domain {start.name!r} another 'seed', other options or another file"
        + (", or set 'n_validation: 0'" if split == "validation" else "")
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff check-start``."""
    parser.add_argument("--name", required=True, help="model that starts from a run")
    parser.add_argument(
        "--trained-on", type=Path, nargs="+", required=True, help="domains that θ0 was trained on"
    )
    parser.add_argument(
        "--domains", type=Path, nargs="+", required=True, help="folders of all domains"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON to write: what was compared")


def main(args: argparse.Namespace) -> None:
    """Check one started model, and write what was compared."""
    with run_main(args.name):
        found = check_apart(args.name, args.trained_on, args.domains)
        for domain, n in found["trained_again"].items():
            if n and domain not in found["trained_on"]:
                logger.info("θ0 was trained on %d training examples of %r already", n, domain)
        atomic_write_json(args.out, found, checksum=True)
