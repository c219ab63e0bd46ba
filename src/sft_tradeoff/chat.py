"""What a model's chat template writes around a prompt and its answer.

This is found by rendering. A conversation of unique placeholders shows what the template writes
before, between and after the turns. Every real conversation is rendered too, and must equal that
one except for its turns. No text is searched for an answer, and a template that drops, moves or
rewrites a turn is an error.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.meta

from sft_tradeoff.system.console import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Replaces today's date in templates, so that an example has the same tokens on any day. Llama 3.1's
# template has the same default.
FIXED_DATE = date(2024, 7, 26)
_CLOCK = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
_READS_CLOCK = re.compile(r"\bstrftime_now\b(?!\s+is\b)")
_TAGS = re.compile(r"{%-?\s*(?:end)?generation\s*-?%}")  # Transformers' extension of Jinja
_GIVEN = frozenset({"messages", "add_generation_prompt"})
# Placeholders of plain letters: no template trims, escapes or interprets them.
_MARKS = {"system": "QzSystemTurnQz", "user": "QzUserTurnQz", "assistant": "QzAnswerQz"}
_NAMES = {"system": "system turn", "user": "prompt", "assistant": "response"}
_TRIMS: tuple[Callable[[str], str], ...] = (
    *(str, str.strip, str.lstrip, str.rstrip),
    *(lambda t: t.strip("\n"), lambda t: t.lstrip("\n"), lambda t: t.rstrip("\n")),
)
# Every mark contains some; in Gemma line breaks are added tokens too, but not marks.
_PUNCTUATION = re.compile(r"[^\w\s]")
EXCERPT = 40  # characters of a text that an error message quotes
_FIX = (
    "correct chat_template.jinja in the model's folder, or set 'chat_template' or "
    "'chat_template_args' in its catalogue entry (make own: CHAT_TEMPLATE_ARGS=)"
)


class ChatTemplateError(UserError, ValueError):
    """The chat template does not render a conversation as a prompt followed by its response."""


@dataclass(frozen=True)
class ChatFormat:
    """How a chat template wraps an answer.

    Args:
        header: Text between the rendered prompt and the answer, such as an empty block of
            thoughts. The model has to write it, so it is learned; only what follows is graded.
        end_text: Text after the answer, up to and including the end of turn; empty if the template
            does not mark the end.
        end_of_turn: Token that ends an answer: the first special token after it, or the tokenizer's
            EOS. It is learned, stops generation, and is listed in the generation settings of the
            model's folder.
        answer_mark: The last added token of the header (``</think>``); what a model writes before
            it is not part of the answer. None if there is no such token.
        lead: Text of the header after the mark, without white space around it.
    """

    header: str
    end_text: str
    end_of_turn: int
    answer_mark: int | None
    lead: str

    def answer(self, text: str) -> str:
        """Return the answer from a generated text that starts after the mark."""
        return text.lstrip().removeprefix(self.lead).lstrip() if self.lead else text


@dataclass(frozen=True)
class Turns:
    """One rendered example.

    Args:
        prompt: Text that the model reads before it answers.
        response: Text that is learned, from the header to the end of turn.
    """

    prompt: str
    response: str


def chat_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """Determine how the tokenizer's chat template wraps an answer.

    Raises:
        ChatTemplateError: If it cannot be rendered, drops a turn, or if its generation prompt
            differs from how it starts an answer.
    """
    return _chat_format(tokenizer, str(tokenizer.chat_template))


def render_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, system: str | None = None
) -> str:
    """Render a user message, as the model reads it before it answers.

    Args:
        tokenizer: With a chat template.
        prompt: The user's message.
        system: Text of a system turn; put before the user's message if the template has none.

    Raises:
        ChatTemplateError: If the template does not render exactly these turns.
    """
    contents = _contents(tokenizer, prompt, system)
    pattern, _, _ = _pattern(tokenizer, contents)
    text = _render(tokenizer, contents, add_generation_prompt=True)
    _compare(text, [pattern], contents)
    return text


def render_turns(tokenizer: PreTrainedTokenizerBase, record: Mapping[str, Any]) -> Turns:
    """Render an example: its prompt, and the text to learn.

    Args:
        tokenizer: With a chat template.
        record: With ``prompt`` and ``response``, and ``system`` if it has a system turn.

    Raises:
        ChatTemplateError: If the template does not render exactly these turns.
    """
    prompt = render_prompt(tokenizer, record["prompt"], record.get("system"))
    contents = _contents(tokenizer, record["prompt"], record.get("system"))
    pattern, header, tail = _pattern(tokenizer, contents)
    contents["assistant"] = record["response"]
    text = _render(tokenizer, contents)
    answer = _MARKS["assistant"] + tail
    # A response that contains thoughts does not get an empty block before it.
    _compare(text, [pattern + header + answer, pattern + answer], contents)
    end_text = chat_format(tokenizer).end_text
    if not text.startswith(prompt) or not tail.startswith(end_text):
        raise ChatTemplateError(
            f"the chat template renders this conversation differently from others; {_FIX}"
        )
    return Turns(prompt, text[len(prompt) : len(text) - len(tail)] + end_text)


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Texts that become a control token wherever they occur; no turn may contain one.

    Transformers' ``all_special_tokens`` has only those with a role, such as EOS, but not Gemma 3's
    ``<end_of_turn>``.
    """
    return tuple(t.content for t in tokenizer.added_tokens_decoder.values() if t.special)


@lru_cache(maxsize=16)
def control_token_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Match any of :func:`control_tokens`, and the marks that open a user's turn.

    The latter because some models do not flag their marks (``<|im_start|>``) as special. One
    pattern, because Gemma 3 has 6,400 control tokens and searching for each would take most of the
    time. Cached: call it only when all tokens have been added.
    """
    opening = _pattern(tokenizer, ["user"])[0].partition(_MARKS["user"])[0]
    added = (token.content for token in tokenizer.added_tokens_decoder.values())
    marks = (found[0] for found in _find(added, opening) if _PUNCTUATION.search(found[0]))
    return _any_of({*control_tokens(tokenizer), *marks})


def decode_answer(tokenizer: PreTrainedTokenizerBase, tokens: list[int], mark: int | None) -> str:
    """Text of generated tokens after the last mark, without special tokens."""
    behind = tokens[len(tokens) - tokens[::-1].index(mark) :] if mark in tokens else tokens
    text = str(tokenizer.decode(behind, skip_special_tokens=True))
    return text if behind is tokens else text.lstrip()


def without_clock(template: str) -> str:
    """Return the chat template with :data:`FIXED_DATE` instead of today's date.

    Raises:
        ChatTemplateError: If it reads the clock in another way.
    """
    fixed = _CLOCK.sub(lambda call: repr(FIXED_DATE.strftime(call[2])), template)
    if _READS_CLOCK.search(fixed):
        raise ChatTemplateError(
            "the chat template reads the clock (strftime_now) in a way that a fixed date cannot "
            "replace, so the same prompt would have other tokens tomorrow; write a date into "
            "chat_template.jinja in the model's folder"
        )
    return fixed


def with_variables(template: str, variables: Mapping[str, bool | int | str]) -> str:
    """Return a chat template that sets some of its variables itself.

    Raises:
        ChatTemplateError: If it does not read a variable of that name, or if the variable is one
            that every rendering sets.
    """
    read = _variables(template) if variables else set()
    for name in variables:
        if name in _GIVEN:
            raise ChatTemplateError(
                f"chat_template_args: {name!r} is set for every prompt; remove it"
            )
        if name not in read:
            raise ChatTemplateError(
                f"chat_template_args: the chat template does not read the variable {name!r}; "
                "correct its name, or remove it (under model_catalogue in the study file, or in "
                "the catalogue; make own: CHAT_TEMPLATE_ARGS=)"
            )
    spelled = {name: json.dumps(value, ensure_ascii=False) for name, value in variables.items()}
    return "".join(f"{{%- set {name} = {text} %}}" for name, text in spelled.items()) + template


def _variables(template: str) -> set[str]:
    """Variables that a template reads without setting them."""
    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        return set(
            jinja2.meta.find_undeclared_variables(environment.parse(_TAGS.sub("", template)))
        )
    except jinja2.TemplateSyntaxError as error:
        raise ChatTemplateError(f"the chat template cannot be read ({error}); {_FIX}") from error


@lru_cache(maxsize=16)
def _chat_format(tokenizer: PreTrainedTokenizerBase, template: str) -> ChatFormat:
    _, header, tail = _pattern(tokenizer, ["user"])
    added = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
    # In some models the end of turn is an added token that is not flagged as special.
    found = _find(control_tokens(tokenizer), tail) or _find(added, tail)
    marks = _find(added, header)
    return ChatFormat(
        header=header,
        end_text=tail[: found[0].end()] if found else "",
        end_of_turn=added[found[0][0]] if found else tokenizer.eos_token_id,
        answer_mark=added[marks[-1][0]] if marks else None,
        lead=header[marks[-1].end() if marks else 0 :].strip(),
    )


def _find(texts: Iterable[str], text: str) -> list[re.Match[str]]:
    """All occurrences of any of several texts."""
    return list(_any_of(texts).finditer(text))


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Match any of several texts, the longest at a position; nothing if there are none."""
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _contents(
    tokenizer: PreTrainedTokenizerBase, prompt: str, system: str | None
) -> dict[str, str]:
    """Content by role, the system text merged into the user's if the template needs that."""
    if system is None:
        return {"user": prompt}
    if _has_system(tokenizer, str(tokenizer.chat_template)):
        return {"system": system, "user": prompt}
    return {"user": f"{system}\n\n{prompt}"}


@lru_cache(maxsize=16)
def _has_system(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    """Whether the template renders a system turn; others raise an error or drop it."""
    try:
        _pattern(tokenizer, ["system", "user"])
    except ChatTemplateError:
        return False
    return True


def _pattern(tokenizer: PreTrainedTokenizerBase, roles: Iterable[str]) -> tuple[str, str, str]:
    """Render placeholders: the prompt, and the texts before and after the answer."""
    return _marked(tokenizer, str(tokenizer.chat_template), tuple(roles))


@lru_cache(maxsize=64)
def _marked(
    tokenizer: PreTrainedTokenizerBase, template: str, roles: tuple[str, ...]
) -> tuple[str, str, str]:
    marks = {role: _MARKS[role] for role in roles}
    prompt = _render(tokenizer, marks, add_generation_prompt=True)
    whole = _render(tokenizer, marks | {"assistant": _MARKS["assistant"]})
    for role, mark in (marks | {"assistant": _MARKS["assistant"]}).items():
        if whole.count(mark) != 1:
            raise ChatTemplateError(
                f"the chat template drops, repeats or rewrites the {_NAMES[role]}: a placeholder "
                f"for it appears {whole.count(mark)} times; {_FIX}"
            )
    if not whole.startswith(prompt):
        asked, learned = where_they_part(prompt, whole)
        raise ChatTemplateError(
            f"the chat template opens an answer with {asked!r}, but a finished conversation "
            f"has {learned!r} there, so training and generation would differ; {_FIX}"
        )
    header, _, tail = whole[len(prompt) :].partition(_MARKS["assistant"])
    return prompt, header, tail


def _compare(text: str, patterns: list[str], contents: Mapping[str, str]) -> None:
    """Check that a rendered conversation is one of the patterns filled with these turns."""
    for pattern, turns in itertools.product(patterns, _spellings(contents)):
        if text == _filled(pattern, turns):
            return
    wanted, found = where_they_part(_filled(patterns[0], contents), text)
    raise ChatTemplateError(
        f"the chat template changes its input: {wanted!r} becomes {found!r}; {_FIX}"
    )


def where_they_part(one: str, other: str) -> tuple[str, str]:
    """Return excerpts of two texts from where they differ."""
    pairs = enumerate(itertools.zip_longest(one, other))
    start = next((i for i, (a, b) in pairs if a != b), 0)
    return one[start : start + EXCERPT], other[start : start + EXCERPT]


def _filled(pattern: str, contents: Mapping[str, str]) -> str:
    marks = {_MARKS[role]: content for role, content in contents.items()}
    return re.sub("|".join(marks), lambda mark: marks[mark[0]], pattern)


def _spellings(contents: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The turns unchanged, and with white space trimmed in the ways of templates."""
    trimmed = [dict.fromkeys(trim(content) for trim in _TRIMS) for content in contents.values()]
    for turns in itertools.product(*trimmed):
        yield dict(zip(contents, turns, strict=True))


def _render(
    tokenizer: PreTrainedTokenizerBase,
    contents: Mapping[str, str],
    add_generation_prompt: bool = False,
) -> str:
    messages = [{"role": role, "content": content} for role, content in contents.items()]
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except Exception as error:  # the template is a program and may raise anything
        reason = " ".join(str(error).split())
        raise ChatTemplateError(
            f"the chat template cannot be rendered ({type(error).__name__}: {reason}); {_FIX}"
        ) from error
    return str(text)
