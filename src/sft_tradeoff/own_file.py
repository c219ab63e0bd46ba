"""The study file that `make own` writes: the template with the user's data and model.

Before it is written, and when it is there already, its limits are compared with the data.
"""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any

import yaml

from sft_tradeoff.chat import render_prompt
from sft_tradeoff.config import Study, load_study, parse_study
from sft_tradeoff.console import UserError
from sft_tradeoff.domains import jsonl
from sft_tradeoff.domains.base import Example
from sft_tradeoff.files import atomic_write_text, sha256_of
from sft_tradeoff.model_folder import weight_files
from sft_tradeoff.models import load_tokenizer
from sft_tradeoff.sources import cache_dir
from sft_tradeoff.specs import DomainSpec, LocalAsset
from sft_tradeoff.tokenization import encode_rendered

logger = logging.getLogger("sft_tradeoff.own")

TEMPLATE = Path("config/studies/own.yaml")
TEMPLATE_TOKENS = 256  # more than chat templates add to a prompt
# What the template's domain may leave out.
DEFAULTS = {"metric": "exact_match", "n_train": 200, "n_test": 100, "max_new_tokens": 512}


def read_template() -> dict[str, Any]:
    """The template, with defaults where its domain leaves something out.

    Raises:
        UserError: If it is gone, or is no study with one domain.
    """
    try:
        template = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
        domain = {key: value for key, value in template["domains"][0].items() if value is not None}
    except (OSError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{TEMPLATE}: not a study file with a domain ({error}); correct it, or take the "
            "repository's own again: git checkout -- " + str(TEMPLATE)
        ) from None
    return dict(template) | {"domains": [DEFAULTS | domain]}


def check_lengths(study: Study, source: Path) -> None:
    """Refuse prompts that leave no room for a response, as far as the tokenizer is here already.

    Args:
        study: What will run.
        source: The file in which its limits can be raised.

    Raises:
        UserError: Listing the lines.
    """
    most = study.training.max_length - 1
    for domain in study.domains:
        n_new = domain.max_new_tokens or jsonl.DOMAIN.max_new_tokens["response"]
        if n_new >= study.evaluation.max_length:
            raise UserError(
                f"{source}: max_new_tokens ({n_new}) leaves no room for a prompt within "
                f"evaluation.max_length ({study.evaluation.max_length}); lower it, or raise that"
            )
        limits = {"train": most, "test": min(most, study.evaluation.max_length - n_new)}
        unsure = [
            (example, limits[split])
            for split, examples in _generate(domain, source).items()
            for example in examples
            # No token is shorter than a byte, so that most files need no tokenizer.
            if split in limits and len(example.prompt.encode()) + TEMPLATE_TOKENS > limits[split]
        ]
        problems = [line for model in study.models for line in _too_long(study, model, unsure)]
        if problems:
            raise UserError(
                f"{jsonl.report(Path(str(domain.path)), problems)}\n  shorten or remove these "
                f"lines, or raise training.max_length ({study.training.max_length}) and "
                f"evaluation.max_length ({study.evaluation.max_length}, of which max_new_tokens "
                f"takes {n_new}) in {source}"
            )


def _generate(domain: DomainSpec, source: Path) -> dict[str, list[Example]]:
    try:
        return jsonl.generate(domain) if domain.name == "jsonl" else {}
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error


def _too_long(study: Study, model: str, unsure: list[tuple[Example, int]]) -> list[str]:
    folder = _tokenizer_folder(study, model)
    if folder is None or not unsure:
        return []
    tokenizer = load_tokenizer(folder)
    problems = []
    for example, limit in sorted(unsure, key=lambda pair: int(pair[0].meta["line"])):
        n_tokens = len(encode_rendered(tokenizer, render_prompt(tokenizer, example.prompt)))
        if n_tokens > limit:
            problems.append(
                f"line {example.meta['line']}: the prompt has {n_tokens} tokens, and more than "
                f"{limit} leave no room for a response"
            )
    return problems


def _tokenizer_folder(study: Study, model: str) -> Path | None:
    """The model in the cache, or the user's own folder; None for one that is yet to be fetched."""
    asset = study.assets.get(str(study.model_catalogue[model].asset))
    folders = [cache_dir() / "models" / model]
    if isinstance(asset, LocalAsset):
        folders.append(Path(asset.path).expanduser())
    return next((folder for folder in folders if (folder / "config.json").is_file()), None)


def write_study(study: dict[str, Any], folder: Path) -> Path:
    """Write a study file; one that exists for the same data and model stays as the user left it.

    Raises:
        UserError: If the name is taken by another study, or lines are too long for this one.
    """
    path = folder / f"{study['study']}.yaml"
    if not path.exists():
        check_lengths(parse_study(study, str(path)), TEMPLATE)
        atomic_write_text(path, _as_yaml(study))
        logger.info("%s written", path)
        return path
    existing = load_study(path)
    if not _same_question(existing, parse_study(study, str(path))):
        raise UserError(
            f"name: {study['study']!r} is taken: {path} names other data or another model "
            f"({existing.description or 'no description'!r}), or their files have changed or gone; "
            "choose another name (NAME=), or correct the paths there"
        )
    check_lengths(existing, path)
    logger.info(
        "%s is kept from an earlier call for these data and this model: change its settings "
        "there; TOLERANCE, if given, counts instead of its own", path,
    )  # fmt: skip
    return path


def _same_question(kept: Study, asked: Study) -> bool:
    """Whether two studies read files of the same content, wherever they are, and grade them alike.

    The metric of the kept one may have been changed there on purpose.
    """

    def content(study: Study) -> tuple[object, ...]:
        data = [_digest(Path(str(d.path))) for d in study.domains if d.name == "jsonl"]
        used = [study.assets.get(str(study.model_catalogue[m].asset)) for m in study.models]
        local = [Path(asset.path).expanduser() for asset in used if isinstance(asset, LocalAsset)]
        weights = [[_digest(path) for path in weight_files(folder)] for folder in local]
        return data, weights, study.models

    metrics = [[d.metric for d in study.domains] for study in (kept, asked)]
    graded_alike = kept.description == asked.description or metrics[0] == metrics[1]
    return graded_alike and content(kept) == content(asked)


def _digest(path: Path) -> str:
    return sha256_of(path) if path.is_file() else f"{path} is gone"


def _as_yaml(study: dict[str, Any]) -> str:
    """The template with other values, so that its comments stay."""
    template = TEMPLATE.read_text(encoding="utf-8")
    old = yaml.safe_load(template)
    before, after = old | old["domains"][0], study | study["domains"][0]
    text = re.sub(r"\A(#.*\n)+", "", template)
    for key in before.keys() - {"domains"}:
        line = rf"(?m)^( *{key}: ).*?(?= *(?:#|$))"
        if before[key] != after[key]:
            new = _inline(after[key]).replace("\\", r"\\")
            text = re.sub(line, rf"\g<1>{new}", text, count=1)
    added = {key: value for key, value in study.items() if key not in old}
    text += _block(added) if added else ""
    if not _holds(text, study):  # the user wrote the template in another style
        text = f"# Comments: {TEMPLATE}\n{_block(study)}"
    if not _holds(text, study):
        raise UserError(
            "path: the names of data and model have characters that YAML cannot hold; rename them"
        )
    return f"# Written by make own; change what you like. Keys: config/README.md.\n{text}"


def _holds(text: str, study: dict[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == study)
    except yaml.YAMLError:
        return False


def _block(content: dict[str, Any]) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))


def _inline(value: Any) -> str:
    """A value on one line."""
    listed = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=math.inf)
    return str(listed).strip()[1:-1]
