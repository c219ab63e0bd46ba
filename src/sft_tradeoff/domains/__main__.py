"""Write the three splits of a domain and their data card."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sft_tradeoff.console import UserError, run_main
from sft_tradeoff.domains import Domain, Example, get_domain
from sft_tradeoff.domains.base import SPLITS
from sft_tradeoff.files import atomic_write_text, sha256_of
from sft_tradeoff.specs import DomainSpec


def write_domain(spec: DomainSpec, out: Path) -> None:
    """Generate a domain and write ``train/validation/test.jsonl`` and ``card.md`` (last).

    Raises:
        UserError: If the spec cannot be met, or a prompt appears in two splits.
    """
    domain = get_domain(spec.name)
    try:
        splits = domain.generate(spec)
    except ValueError as error:
        raise UserError(f"domain {spec.label!r}: {error}") from error
    refuse_leakage(splits)
    for split in SPLITS:
        lines = [json.dumps(e.to_dict(), ensure_ascii=False) + "\n" for e in splits[split]]
        atomic_write_text(out / f"{split}.jsonl", "".join(lines))
    atomic_write_text(out / "card.md", data_card(domain, spec, splits, out))


def refuse_leakage(splits: dict[str, list[Example]]) -> None:
    """Refuse a prompt (case and white space aside) that appears in two splits.

    Raises:
        UserError: Naming both examples.
    """
    seen: dict[str, tuple[str, str]] = {}
    for split in SPLITS:
        for example in splits[split]:
            prompt = " ".join(example.prompt.lower().split())
            other, other_id = seen.setdefault(prompt, (split, example.id))
            if other != split:
                raise UserError(
                    f"{split} example {example.id!r} has the prompt of {other} example "
                    f"{other_id!r}; remove one of them, or the test score would be memory"
                )


def data_card(domain: Domain, spec: DomainSpec, splits: dict[str, list[Example]], out: Path) -> str:
    """Markdown card: what the data are, where from, how many, with hashes and one example."""
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

- **Source:** {domain.source}
- **Licence:** {domain.licence}
- **Target format:** {spec.variant}{_selection(spec)}
- **Seed:** {spec.seed}

| split | examples | mean prompt length (characters) | mean response length (characters) | sha256 |
|---|---|---|---|---|
{chr(10).join(rows)}

No prompt appears in two splits (checked when the files were written).

## First training example

Prompt:

```text
{example.prompt}
```

Response:

```text
{example.response}
```
"""


def _selection(spec: DomainSpec) -> str:
    """Say that a study uses a part of the domain only."""
    if spec.calculators is None:
        return ""
    ids = ", ".join(map(str, spec.calculators))
    return f"\n- **Selection:** only the calculators with ids {ids}"


def main() -> None:
    """Generate one domain from its settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="JSON of the domain's settings")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    spec = DomainSpec.model_validate_json(args.spec)
    with run_main(f"domain {spec.label}"):
        write_domain(spec, args.out)


if __name__ == "__main__":
    main()
