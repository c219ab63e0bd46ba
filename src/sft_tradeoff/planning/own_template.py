"""The study file that `make own` writes: the template with the user's data and model.

Its limits are compared with the data (:mod:`sft_tradeoff.planning.own_tokens`), whether the file is
new or exists already.
"""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any

import yaml

from sft_tradeoff.assets.spec import LocalAsset
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.models.folder import weight_files
from sft_tradeoff.planning.jobs import own_data_digest
from sft_tradeoff.planning.own_model import check_models
from sft_tradeoff.planning.own_tokens import check_tokens
from sft_tradeoff.study.checks import check_files
from sft_tradeoff.study.config import TEMPLATE_PATH, Study, load_study, parse_study
from sft_tradeoff.study.names import HASH_DIGITS
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import atomic_write_text, sha256_of
from sft_tradeoff.system.strict_yaml import parse_yaml, read_yaml
from sft_tradeoff.system.validation import ConfigError

logger = logging.getLogger(__name__)

TEMPLATE = TEMPLATE_PATH
# For keys that the template's domain leaves out.
DEFAULTS = {"metric": "exact_match", "n_train": 200, "n_test": 100, "max_new_tokens": None}


def read_template() -> dict[str, Any]:
    """Return the template, with defaults for what its domain leaves out.

    Raises:
        UserError: If it is missing, or is not a study with a domain.
    """
    try:
        template = read_yaml(TEMPLATE)
        domain = {key: value for key, value in template["domains"][0].items() if value is not None}
    except (OSError, ConfigError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{TEMPLATE}: not a study file with a domain ({error}); correct it, or restore the "
            f"repository's own: git checkout -- {TEMPLATE}"
        ) from None
    return dict(template) | {"domains": [DEFAULTS | domain]}


def write_study(study: dict[str, Any], folder: Path) -> Path:
    """Write a study file; one that exists for the same data and model is not changed.

    Returns:
        Its path.

    Raises:
        UserError: If another study has the name, or lines are too long for this one.
    """
    path = folder / f"{study['study']}.yaml"
    if not path.exists():
        _check(parse_study(study, str(TEMPLATE)), TEMPLATE)
        atomic_write_text(path, _as_yaml(study))
        logger.info("%s written", path)
        return path
    existing = load_study(path)
    if not _same_question(existing, parse_study(study, str(TEMPLATE))):
        raise UserError(
            f"name: {study['study']!r} is taken: {path} names other data, another model or another "
            f"grading ({existing.description or 'no description'!r}), or their files have changed "
            "or are missing; choose another name (NAME=), or correct the paths there"
        )
    check_files(existing, str(path), BENCHMARKS)
    _check(existing, path)
    logger.info(
        "%s exists for these data and this model, and is kept: change settings there; TOLERANCE "
        "and SMALLEST_GAIN, if given, take precedence",
        path,
    )
    return path


def _check(study: Study, source: Path) -> None:
    check_models(study, source)
    check_tokens(study, source)


def _same_question(kept: Study, asked: Study) -> bool:
    """Return whether two studies read files of the same content and grade them in the same way.

    The files may be in different places, under other names, and metric and numeric tolerance of
    the kept study may have been changed on purpose.
    """

    def content(study: Study) -> tuple[object, ...]:
        data = [own_data_digest(d.path) for d in study.domains if isinstance(d, OwnSpec)]
        models: list[object] = []
        for name in study.models:
            asset = study.assets.get(str(study.model_catalogue[name].asset))
            if isinstance(asset, LocalAsset):  # its name is the folder's, with a hash of the files
                path = Path(asset.path).expanduser()
                files = [path] if path.is_file() else weight_files(path)
                models.append((name[-HASH_DIGITS:], *map(_digest, files)))
            else:
                models.append(name)
        return data, models

    rules = [
        [(d.metric, d.tolerance, d.columns) for d in study.domains if isinstance(d, OwnSpec)]
        for study in (kept, asked)
    ]
    graded_alike = kept.description == asked.description or rules[0] == rules[1]
    return graded_alike and content(kept) == content(asked)


def _digest(path: Path) -> str:
    return sha256_of(path) if path.is_file() else f"{path} is missing"


def _as_yaml(study: dict[str, Any]) -> str:
    """Return the template with other values and its own comments.

    Values are replaced in the text. Where that does not give the study, because the user wrote the
    template in another style, comments are lost.
    """
    template = TEMPLATE.read_text(encoding="utf-8")
    old = parse_yaml(template, TEMPLATE)
    before, after = old | old["domains"][0], study | study["domains"][0]
    text = re.sub(r"\A(#.*\n)+", "", template)
    for key in before.keys() - {"domains"}:
        line = rf"(?m)^( *{key}: ).*?(?= *(?:#|$))"
        if before[key] != after[key]:
            new = _inline(after[key]).replace("\\", r"\\")
            text = re.sub(line, rf"\g<1>{new}", text, count=1)
    for part in ("training", "evaluation"):
        text = _with_values(text, part, old.get(part) or {}, study.get(part) or {})
    added = {key: value for key, value in study.items() if key not in old}
    text += _block(added) if added else ""
    if not _holds(text, study):
        text = f"# Comments: {TEMPLATE}\n{_block(study)}"
    if not _holds(text, study):
        raise UserError(
            "path: the names of data or model contain characters that YAML cannot represent; "
            "rename the files"
        )
    return f"# Written by make own; edit as you like. Keys: config/README.md.\n{text}"


def _with_values(text: str, part: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    """Replace the values of a section's keys in YAML text."""
    for key in before.keys() & after.keys():
        line = rf"(?m)^({part}:.*\n(?:[ #].*\n)*?  {key}: ).*?(?= *(?:#|$))"
        if before[key] != after[key]:
            text = re.sub(line, rf"\g<1>{_inline(after[key])}", text, count=1)
    return text


def _holds(text: str, study: dict[str, Any]) -> bool:
    """Return whether YAML text gives exactly this study."""
    try:
        return bool(parse_yaml(text, TEMPLATE) == study)
    except ConfigError:
        return False


def _block(content: dict[str, Any]) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))


def _inline(value: Any) -> str:
    """Return a value as YAML on one line."""
    listed = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=math.inf)
    return str(listed).strip()[1:-1]
