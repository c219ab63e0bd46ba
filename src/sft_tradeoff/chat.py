"""What a model's chat template writes around the turns of a conversation and its last answer.

This is found by rendering. A conversation of unique placeholders shows what the template writes
before, between and after the turns. Every real conversation is rendered too, and must equal that
one except for its turns. No text is searched for an answer, and a template that drops, moves or
rewrites a turn is an error; only thoughts in earlier answers may be left out, as many templates do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sft_tradeoff.system.console import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TRIMS: tuple[Callable[[str], str], ...] = (
    *(str, str.strip, str.lstrip, str.rstrip),
    *(lambda t: t.strip("\n"), lambda t: t.lstrip("\n"), lambda t: t.rstrip("\n")),
)
# Every mark contains some; in Gemma line breaks are added tokens too, but not marks.
_PUNCTUATION = re.compile(r"[^\w\s]")
# Thoughts, with which an earlier answer begins, up to the last mark that closes them.
_THOUGHTS = re.compile(r"\A.*(?:</(?:\w+:)?(?:think|thought|reason)\w*>|\[/THINK\])", re.DOTALL)
# Placeholders of letters and a number: no template trims, escapes or interprets them.
_MARK = re.compile(r"(QzTurn\d+Qz)")
EXCERPT = 40  # characters of a text that an error message quotes


class ChatTemplateError(UserError, ValueError):
    """The chat template does not render a conversation as its turns; the caller knows the fix."""


class Turn(NamedTuple):
    """One turn of a conversation.

    Args:
        name: For messages to the user: ``prompt``, ``response``, ``earlier turn 2 (assistant)``.
        role: ``system``, ``user`` or ``assistant``.
        content: Its text.
    """

    name: str
    role: str
    content: str


_SYSTEM = Turn("system turn", "system", "")


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


class Rendered(NamedTuple):
    """One rendered example.

    Args:
        prompt: Text that the model reads before it answers: all turns but the last.
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


def turns_of(record: Mapping[str, Any]) -> list[Turn]:
    """The turns of an example, in order: system turn, earlier turns, prompt, response.

    Args:
        record: With ``prompt``, and as far as it has them ``response``, ``system`` and ``history``:
            the turns before the prompt, each with ``role`` and ``content``.
    """
    system, response = record.get("system"), record.get("response")
    turns = [] if system is None else [Turn("system turn", "system", system)]
    for number, turn in enumerate(record.get("history") or (), 1):
        turns.append(Turn(f"earlier turn {number} ({turn['role']})", turn["role"], turn["content"]))
    turns.append(Turn("prompt", "user", record["prompt"]))
    return turns if response is None else [*turns, Turn("response", "assistant", response)]


def render_prompt(tokenizer: PreTrainedTokenizerBase, record: Mapping[str, Any]) -> str:
    """Render the conversation of an example as the model reads it before it answers.

    A system turn is put before the first user turn if the template has none.

    Args:
        tokenizer: With a chat template.
        record: See :func:`turns_of`; its response is not read.

    Raises:
        ChatTemplateError: If the template does not render exactly these turns.
    """
    return _rendered_prompt(tokenizer, _asked(tokenizer, record))


def render_turns(tokenizer: PreTrainedTokenizerBase, record: Mapping[str, Any]) -> Rendered:
    """Render an example: what the model reads, and the text to learn.

    Args:
        tokenizer: With a chat template.
        record: See :func:`turns_of`.

    Raises:
        ChatTemplateError: If the template does not render exactly these turns.
    """
    asked = _asked(tokenizer, record)
    prompt = _rendered_prompt(tokenizer, asked)
    frame = _frame(tokenizer, asked)
    response = Turn("response", "assistant", record["response"])
    whole = _render(tokenizer, [*asked, response])
    end_text = chat_format(tokenizer).end_text
    if not whole.startswith(prompt) or not frame.tail.startswith(end_text):
        raise ChatTemplateError(
            "the chat template renders this conversation differently from others"
        )
    text = whole[len(prompt) :]
    mark = _mark(len(asked))
    _compare(text, (frame.header, mark, frame.tail), {mark: response}, frame.header)
    return Rendered(prompt, text[: len(text) - len(frame.tail)] + end_text)


def markup(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what the template writes around a prompt and its answer, with a placeholder for it."""
    _, frame = _shortest(tokenizer)
    return "".join((*frame.prompt, frame.header, frame.tail))


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
    turns, frame = _shortest(tokenizer)
    opening = frame.prompt[frame.prompt.index(_mark(len(turns) - 1)) - 1]
    added = (token.content for token in tokenizer.added_tokens_decoder.values())
    marks = (found[0] for found in _find(added, opening) if _PUNCTUATION.search(found[0]))
    return _any_of({*control_tokens(tokenizer), *marks})


def decode_answer(tokenizer: PreTrainedTokenizerBase, tokens: list[int], mark: int | None) -> str:
    """Text of generated tokens after the last mark, without special tokens."""
    behind = tokens[len(tokens) - tokens[::-1].index(mark) :] if mark in tokens else tokens
    text = str(tokenizer.decode(behind, skip_special_tokens=True))
    return text if behind is tokens else text.lstrip()


@lru_cache(maxsize=16)
def _chat_format(tokenizer: PreTrainedTokenizerBase, template: str) -> ChatFormat:
    _, (_, header, tail) = _shortest(tokenizer)
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


class _Frame(NamedTuple):
    """What a chat template writes around the turns of any conversation with certain roles.

    Args:
        prompt: The rendered turns before the answer: texts, and between them placeholders.
        header: Text between these and the answer.
        tail: Text after the answer.
    """

    prompt: tuple[str, ...]
    header: str
    tail: str


def _asked(tokenizer: PreTrainedTokenizerBase, record: Mapping[str, Any]) -> list[Turn]:
    """The turns before the answer, the system text merged into a user turn if that is needed."""
    turns = [turn for turn in turns_of(record) if turn.name != "response"]
    if turns[0].role != "system" or _is_usable(tokenizer, turns):
        return turns
    system, *others = turns
    first = next(place for place, turn in enumerate(others) if turn.role == "user")
    merged = f"{system.content}\n\n{others[first].content}"
    others[first] = others[first]._replace(content=merged)
    return others


def _is_usable(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn]) -> bool:
    """Whether the template renders these turns; without a system turn it raises or drops it."""
    return _renders(tokenizer, str(tokenizer.chat_template), _shape(turns))


def _shortest(tokenizer: PreTrainedTokenizerBase) -> tuple[list[Turn], _Frame]:
    """The shortest conversation that the template renders: a prompt, after a system turn if needed.

    Raises:
        ChatTemplateError: If it renders neither.
    """
    turns = turns_of({"prompt": ""})
    if not _is_usable(tokenizer, turns) and _is_usable(tokenizer, [_SYSTEM, *turns]):
        turns = [_SYSTEM, *turns]
    return turns, _frame(tokenizer, turns)


def _frame(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn]) -> _Frame:
    """What the template writes around turns with these roles, up to and after the answer."""
    return _marked(tokenizer, str(tokenizer.chat_template), _shape(turns))


def _mark(place: int) -> str:
    return f"QzTurn{place}Qz"


def _shape(turns: Sequence[Turn]) -> tuple[tuple[str, str], ...]:
    """Names and roles of turns, in order."""
    return tuple((turn.name, turn.role) for turn in turns)


@lru_cache(maxsize=256)
def _marked(
    tokenizer: PreTrainedTokenizerBase, template: str, shape: tuple[tuple[str, str], ...]
) -> _Frame:
    """Render placeholders."""
    *asked, _ = turns = [
        Turn(name, role, _mark(place))
        for place, (name, role) in enumerate((*shape, ("response", "assistant")))
    ]
    prompt = _render(tokenizer, asked, add_generation_prompt=True)
    whole = _render(tokenizer, turns)
    for text, expected in ((prompt, asked), (whole, turns)):
        for turn in expected:
            if (count := text.count(turn.content)) != 1:
                raise ChatTemplateError(
                    f"the chat template drops, repeats or rewrites the {turn.name}: a placeholder "
                    f"for it appears {count} times"
                )
    if not whole.startswith(prompt):
        generated, learned = where_they_part(prompt, whole)
        raise ChatTemplateError(
            f"the chat template opens an answer with {generated!r}, but a finished conversation "
            f"has {learned!r} there, so training and generation would differ"
        )
    header, _, tail = whole[len(prompt) :].partition(turns[-1].content)
    return _Frame(tuple(_MARK.split(prompt)), header, tail)


@lru_cache(maxsize=256)  # which does not keep errors
def _renders(
    tokenizer: PreTrainedTokenizerBase, template: str, shape: tuple[tuple[str, str], ...]
) -> bool:
    try:
        _marked(tokenizer, template, shape)
    except ChatTemplateError:
        return False
    return True


def _rendered_prompt(tokenizer: PreTrainedTokenizerBase, asked: Sequence[Turn]) -> str:
    try:
        frame = _frame(tokenizer, asked)
    except ChatTemplateError as error:
        if asked[0].role == "system" or not _is_usable(tokenizer, [_SYSTEM, *asked]):
            raise
        raise ChatTemplateError(
            f"{error}; it needs a system turn: give every example one ('system'), or write a "
            "default one into the template"
        ) from error
    text = _render(tokenizer, asked, add_generation_prompt=True)
    turns = {_mark(place): turn for place, turn in enumerate(asked)}
    _compare(text, frame.prompt, turns, frame.header)
    return text


def _compare(text: str, pieces: Sequence[str], turns: Mapping[str, Turn], header: str) -> None:
    """Check that a text consists of these pieces, with turns in place of their placeholders."""
    expected = "".join(turns[piece].content if piece in turns else piece for piece in pieces)
    if text == expected:
        return
    ends = {0}
    for piece, following in itertools.zip_longest(pieces, pieces[1:]):
        options = {piece}
        if piece in turns:
            options = set(_spellings(turns[piece]))
        elif following in turns and turns[following].role == "assistant":
            # An answer that contains thoughts does not get an empty block before it.
            options.add(piece.removesuffix(header))
        ends = {end + len(o) for end in ends for o in options if text.startswith(o, end)}
    if len(text) not in ends:
        wanted, found = where_they_part(expected, text)
        raise ChatTemplateError(
            f"the chat template changes its input: {wanted!r} becomes {found!r}"
        )


def _spellings(turn: Turn) -> Iterator[str]:
    """A turn with white space trimmed in the ways of templates, and without earlier thoughts."""
    texts = {turn.content}
    if turn.role == "assistant" and turn.name != "response":
        texts.add(_THOUGHTS.sub("", turn.content))
    yield from {trim(text) for text in texts for trim in _TRIMS}


def where_they_part(one: str, other: str) -> tuple[str, str]:
    """Return excerpts of two texts from where they differ."""
    pairs = enumerate(itertools.zip_longest(one, other))
    start = next((i for i, (a, b) in pairs if a != b), 0)
    return one[start : start + EXCERPT], other[start : start + EXCERPT]


def _render(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], add_generation_prompt: bool = False
) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except Exception as error:  # the template is a program and may raise anything
        reason = " ".join(str(error).split())
        raise ChatTemplateError(
            f"the chat template cannot be rendered ({type(error).__name__}: {reason})"
        ) from error
    return str(text)
