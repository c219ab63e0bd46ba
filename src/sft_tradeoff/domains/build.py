"""Write the three splits of a domain and their data card."""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from sft_tradeoff.assets.fetch import check_asset, read_source
from sft_tradeoff.domains.base import SPLITS, Domain, Example, Splits, only_answer
from sft_tradeoff.domains.registry import DOMAIN_SPEC, get_domain
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.grading.text import question_key
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import atomic_write_text, path_with_checksum, sha256_of
from sft_tradeoff.system.validation import explain

logger = logging.getLogger(__name__)


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

    Raises:
        UserError: Naming both examples.
    """
    seen: dict[str, tuple[str, str]] = {}
    for split in SPLITS:
        for example in splits[split]:
            key = question_key(example.prompt, example.system)
            other, other_id = seen.setdefault(key, (split, example.id))
            if other != split:
                raise UserError(
                    f"{split} example {example.id!r} has the same prompt as {other} example "
                    f"{other_id!r}; remove one, or the test would measure memorization"
                )


def data_card(
    domain: Domain,
    spec: DomainSpec,
    splits: dict[str, list[Example]],
    out: Path,
    records: Sequence[Path] = (),
) -> str:
    """Markdown card: description, source, counts, hashes and one example."""
    rows = []
    for split in SPLITS:
        examples = splits[split]
        prompt = sum(len(e.prompt) for e in examples) / max(1, len(examples))
        response = sum(len(e.response) for e in examples) / max(1, len(examples))
        digest = sha256_of(out / f"{split}.jsonl")
        rows.append(f"| {split} | {len(examples)} | {prompt:.0f} | {response:.0f} | `{digest}` |")
    example = splits["train"][0]
    return f"""# Data card: {spec.label}

{domain.description}

- **Source:** {domain.source}{"".join(map(_asset, records))}
- **License:** {domain.license}
- **Target format:** {spec.variant}{_options(spec)}
- **Seed:** {spec.seed}

| split | examples | mean prompt length (characters) | mean response length (characters) | sha256 |
|---|---|---|---|---|
{chr(10).join(rows)}

No prompt appears in two splits (checked when the files were written). For the token counts of a
model and its truncated responses, see `tokenized/<model>/{spec.label}/<split>.md`.
{_remarks(domain, splits)}
## First training example
{_system_text(example)}
Prompt:

{_fenced(example.prompt)}

Response:

{_fenced(example.response)}
"""


def _system_text(example: Example) -> str:
    return f"\nSystem:\n\n{_fenced(example.system)}\n" if example.system else ""


def _fenced(text: str) -> str:
    """A text in a Markdown fence that is longer than any fence in the text."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return f"{fence}text\n{text}\n{fence}"


def _remarks(domain: Domain, splits: dict[str, list[Example]]) -> str:
    """The domain's remarks on its splits, and how its rule grades the test responses."""
    test = splits["test"]
    n_right = sum(domain.score(example.to_dict(), example.response).correct for example in test)
    if n_right < len(test):
        logger.warning("the domain's rule grades %d test responses as wrong", len(test) - n_right)
    said = splits.remarks if isinstance(splits, Splits) else ()
    only = only_answer(test)
    if only is not None:
        logger.warning("warning: %s", only)
        said = (*said, only[0].upper() + only[1:] + ".")
    lines = [*said, f"The domain's rule grades {n_right} of {len(test)} test responses as right."]
    return "\n".join(["", *(f"- {line}" for line in lines), ""])


def _asset(record: Path) -> str:
    """The files of an asset; local ones with their hashes, since a path identifies nothing."""
    asset = read_source(record)
    if asset["source"] == "hub":
        what = f"{asset['repo']} at commit `{asset['revision']}` of the hub"
    else:
        files = (f"{name} (sha256 `{facts['sha256']}`)" for name, facts in asset["files"].items())
        what = f"{asset['source']}: {', '.join(files)}"
    return f"\n- **Asset {asset['name']}:** {what}; {asset['license']}"


def _options(spec: DomainSpec) -> str:
    """The domain's own options, as chosen in the study."""
    return "".join(f"\n- **{title}:** {text}" for title, text in spec.card_lines())


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
