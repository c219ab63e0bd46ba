"""The data card of a domain: where its examples come from, how many there are, and one of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from sft_tradeoff.assets.fetch import read_source
from sft_tradeoff.chat import turns_of
from sft_tradeoff.domains.base import SPLITS, Domain, Example, Splits, only_answer
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.system.files import sha256_of
from sft_tradeoff.system.text import escaped

logger = logging.getLogger(__name__)


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
        turns = (turn for example in examples for turn in turns_of(vars(example)))
        response = sum(len(e.response) for e in examples) / max(1, len(examples))
        prompt = sum(len(turn.content) for turn in turns) / max(1, len(examples)) - response
        digest = sha256_of(out / f"{split}.jsonl")
        rows.append(f"| {split} | {len(examples)} | {prompt:.0f} | {response:.0f} | `{digest}` |")
    return f"""# Data card: {spec.label}

{domain.description}

- **Source:** {domain.source}{"".join(map(_asset, records))}
- **License:** {domain.license}
- **Target format:** {spec.variant}{_options(spec)}
- **Independent unit:** {domain.unit} ({_n_units(domain, splits["test"])} in the test)
- **Seed:** {spec.seed}

| split | examples | mean prompt length (characters) | mean response length (characters) | sha256 |
|---|---|---|---|---|
{chr(10).join(rows)}

No prompt appears in two splits (checked when the files were written). For the token counts of a
model and its truncated responses, see `tokenized/<model>/{spec.label}/<split>.md`.
{_remarks(domain, splits)}
## First training example

{_first_example(splits["train"][0])}
"""


def _n_units(domain: Domain, examples: Sequence[Example]) -> int:
    return len({domain.cluster(vars(example)) for example in examples})


def _shared_units(domain: Domain, splits: dict[str, list[Example]]) -> list[str]:
    """How many test examples belong to a unit that is also trained on; empty if none does."""
    trained = {domain.cluster(vars(example)) for example in splits["train"]}
    test = splits["test"]
    n_shared = sum(domain.cluster(vars(example)) in trained for example in test)
    if not n_shared:
        return []
    return [f"{n_shared} of {len(test)} test examples share their {domain.unit} with training."]


def _first_example(example: Example) -> str:
    turns = turns_of(vars(example))
    return "\n\n".join(f"{turn.name.capitalize()}:\n\n{_fenced(turn.content)}" for turn in turns)


def _fenced(text: str) -> str:
    """A text in a Markdown fence that is longer than any fence in the text."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return f"{fence}text\n{escaped(text)}\n{fence}"


def _in_line(text: str) -> str:
    """A text within a line of Markdown, whose marks are shown rather than followed."""
    marks = r"[\\`*{}\[\]<>#|~&$!]|(?<![^\W_])_|_(?![^\W_])"  # an underscore within a word is none
    return re.sub(marks, r"\\\g<0>", escaped(text)).replace("\n", " ")


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
        said = (*said, _in_line(only[0].upper() + only[1:]) + ".")
    lines = [
        *said,
        *_shared_units(domain, splits),
        f"The domain's rule grades {n_right} of {len(test)} test responses as right.",
    ]
    return "\n".join(["", *(f"- {line}" for line in lines), ""])


def _asset(record: Path) -> str:
    """The files of an asset; local ones with their hashes, since a path identifies nothing."""
    asset = read_source(record)
    if asset["source"] == "hub":
        what = f"{asset['repo']} at commit `{asset['revision']}` of the hub"
    else:
        digests = {name: facts["sha256"] for name, facts in asset["files"].items()}
        files = (f"{_in_line(name)} (sha256 `{digest}`)" for name, digest in digests.items())
        what = f"{asset['source']}: {', '.join(files)}"
    return f"\n- **Asset {asset['name']}:** {what}; {asset['license']}"


def _options(spec: DomainSpec) -> str:
    """The domain's own options, as chosen in the study."""
    return "".join(f"\n- **{title}:** {text}" for title, text in spec.card_lines())
