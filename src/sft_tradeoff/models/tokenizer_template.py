"""The text of a chat template: its date, its variables, and where the user can correct it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta

from sft_tradeoff.chat import ChatTemplateError
from sft_tradeoff.models.folder import RECORD_NAME, ModelError, read_record

TEMPLATE_NAME = "chat_template.jinja"
# Replaces today's date in templates, so that an example has the same tokens on any day. Llama 3.1's
# template has the same default.
FIXED_DATE = date(2024, 7, 26)
_CLOCK = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
_READS_CLOCK = re.compile(r"\bstrftime_now\b(?!\s+is\b)")
_TAGS = re.compile(r"{%-?\s*(?:end)?generation\s*-?%}")  # Transformers' extension of Jinja
_GIVEN = frozenset({"messages", "add_generation_prompt"})


def without_clock(template: str) -> str:
    """Return the chat template with :data:`FIXED_DATE` instead of today's date.

    Raises:
        ChatTemplateError: If it reads the clock in another way.
    """
    fixed = _CLOCK.sub(lambda call: repr(FIXED_DATE.strftime(call[2])), template)
    if _READS_CLOCK.search(fixed):
        raise ChatTemplateError(
            "the chat template reads the clock (strftime_now) in a way that a fixed date cannot "
            "replace, so the same prompt would have other tokens tomorrow (write a date instead)"
        )
    return fixed


def with_variables(template: str, variables: Mapping[str, bool | int | str]) -> str:
    """Return a chat template that sets some of its variables itself, as one that was built does.

    Raises:
        ModelError: If it does not read a variable of that name, or if the variable is one
            that every rendering sets.
    """
    spelled = {name: json.dumps(value, ensure_ascii=False) for name, value in variables.items()}
    settings = "".join(f"{{%- set {name} = {text} %}}" for name, text in spelled.items())
    if template.startswith(settings):
        return template
    read = _variables(template)
    for name in variables:
        if name in _GIVEN:
            raise ModelError(f"chat_template_args: {name!r} is set for every prompt; remove it")
        if name not in read:
            raise ModelError(
                f"chat_template_args: the chat template does not read the variable {name!r}; "
                "correct its name, or remove it (in the model's entry of the study file or the "
                "catalogue; make own: CHAT_TEMPLATE_ARGS=)"
            )
    return settings + template


def _variables(template: str) -> set[str]:
    """Variables that a template reads without setting them."""
    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        return set(
            jinja2.meta.find_undeclared_variables(environment.parse(_TAGS.sub("", template)))
        )
    except jinja2.TemplateSyntaxError as error:
        raise ChatTemplateError(f"the chat template cannot be read ({error})") from error


def template_place(folder: Path) -> str:
    """Say where the user can correct the chat template of a model folder."""
    if not (folder / RECORD_NAME).is_file():
        return str(folder / TEMPLATE_NAME)
    record = read_record(folder)
    if "built_from" not in record:  # a trained model, whose files must stay as they are
        return f"{TEMPLATE_NAME} in a copy of {folder} without {RECORD_NAME}"
    return source_of_template(record["name"], record["built_from"])


def source_of_template(name: str, built_from: Mapping[str, Any]) -> str:
    """Say where the user can correct a model's chat template.

    Args:
        name: The model's name in the catalogue.
        built_from: What θ0 is built from, as in ``MODEL.json``.
    """
    if built_from["asset"].get("source") == "local" and not built_from["chat_template"]:
        return f"{TEMPLATE_NAME} in your model's folder"
    where = "config/catalogue.yaml, or 'model_catalogue' of your study file"
    return f"'chat_template' in the entry of the model {name!r} ({where})"


def template_fix(place: str) -> str:
    """Say how to correct a chat template that stands in this place."""
    variables = "chat_template_args; make own: CHAT_TEMPLATE_ARGS="
    return f"put a corrected one into {place}, or set its variables ({variables})"
