"""Layouts in which people keep examples for fine-tuning: a record as a row of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.odd_inputs.outcome import Expected

Row = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What one row says.

    Args:
        prompt: The user's last message.
        response: What is learned.
        answer: Graded; None: the response.
        system: The system's message.
        history: Earlier messages, of user and assistant in turns.
        split: Which split it belongs to.
    """

    prompt: str
    response: str
    answer: str | None = None
    system: str | None = None
    history: tuple[str, ...] = ()
    split: str | None = None

    def turns(
        self, names: tuple[str, str, str] = ("system", "user", "assistant")
    ) -> list[list[str]]:
        """All messages, each after its role's name."""
        system, user, assistant = names
        found = [[system, self.system]] if self.system else []
        texts = [*self.history, self.prompt, self.response]
        found += [[(user, assistant)[i % 2], text] for i, text in enumerate(texts)]
        return found


class Layout(NamedTuple):
    """A layout.

    Args:
        row: Of a record.
        flat: Whether all values are texts, as in a table.
        keys: What it can hold besides prompt and response: ``system``, ``history``, ``answer``.
        expected: Of a file of such rows.
        joined: Whether prompts consist of two parts with an empty line between them.
    """

    row: Callable[[Record], Row]
    flat: bool = True
    keys: frozenset[str] = frozenset()
    expected: Expected = "accepted"
    joined: bool = False


def _named(prompt: str, response: str, **other: str) -> Callable[[Record], Row]:
    """Layout of two columns, and columns with constant values."""
    return lambda r: {prompt: r.prompt, response: r.response, **other}


def _messages(
    r: Record, roles: tuple[str, str, str] = ("system", "user", "assistant")
) -> list[Row]:
    return [{"role": role, "content": text} for role, text in r.turns(roles)]


def _optional(r: Record) -> Row:
    return {k: v for k in ("system", "answer") if (v := getattr(r, k)) is not None}


def _parts(r: Record) -> Row:
    texts = [(m["role"], [m["content"][:3], m["content"][3:]]) for m in _messages(r)]
    return {
        "messages": [
            {"role": role, "content": [{"type": "text", "text": t} for t in parts if t.strip()]}
            for role, parts in texts
        ]
    }


def _sharegpt(r: Record) -> Row:
    turns = r.turns(("system", "human", "gpt"))
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


def _alpaca(r: Record) -> Row:
    pairs = list(zip(r.history[::2], r.history[1::2], strict=True))
    extra: Row = {"history": [list(pair) for pair in pairs]} if pairs else {}
    extra |= {"system": r.system} if r.system else {}
    return {"instruction": r.prompt, "input": "", "output": r.response, **extra}


def _two_parts(first: str, second: str, response: str) -> Callable[[Record], Row]:
    def row(r: Record) -> Row:
        question, _, context = r.prompt.partition("\n\n")
        return {first: question, second: context, response: r.response}

    return row


def _conversational(r: Record) -> Row:
    *prompt, response = _messages(r)
    return {"prompt": prompt, "completion": [response]}


def _ultrachat(r: Record) -> Row:
    first = (*r.history, r.prompt)[0]
    return {"prompt": first, "prompt_id": "5e", "messages": _messages(r)}


def _text(r: Record) -> Row:
    return {"text": "\n".join(f"{role}: {text}" for role, text in r.turns())}


def _tool(r: Record) -> Row:
    return {"messages": [*_messages(r), {"role": "tool", "content": "1"}], "tools": [{"name": "f"}]}


ALL = frozenset({"system", "history", "answer"})
CHAT, GRADED, SYSTEM = ALL - {"answer"}, ALL - {"history"}, frozenset({"system"})
LAYOUTS = {
    "prompt, response": Layout(
        lambda r: _named("prompt", "response")(r) | _optional(r), keys=GRADED
    ),
    "prompt, completion": Layout(_named("prompt", "completion")),
    "conversational prompt, completion": Layout(_conversational, False, CHAT),
    "messages": Layout(lambda r: {"messages": _messages(r)} | _optional_answer(r), False, ALL),
    "messages with parts": Layout(_parts, False, CHAT),
    "UltraChat": Layout(_ultrachat, False, CHAT),
    "list of texts": Layout(
        lambda r: {"id": "1", "data": [*r.history, r.prompt, r.response]},
        False,
        frozenset({"history"}),
    ),
    "ShareGPT": Layout(_sharegpt, False, CHAT),
    "ShareGPT with roles": Layout(lambda r: {"conversations": _messages(r)}, False, CHAT),
    "Alpaca": Layout(_alpaca),
    "Alpaca with input": Layout(_two_parts("instruction", "input", "output"), joined=True),
    "Alpaca with history": Layout(_alpaca, False, CHAT),
    "Alpaca without input": Layout(_named("instruction", "output")),
    "Dolly": Layout(
        lambda r: _two_parts("instruction", "context", "response")(r) | {"category": "qa"},
        joined=True,
    ),
    "question, answer": Layout(_named("question", "answer")),
    "question, response": Layout(_named("question", "response")),
    "query, response": Layout(_named("query", "response", id="7")),
    "instruction, response": Layout(_named("instruction", "response")),
    "input, output": Layout(_named("input", "output")),
    "inputs, targets": Layout(_named("inputs", "targets", template="t", task="x")),
    "system prompt": Layout(
        lambda r: {"system_prompt": r.system or "", "question": r.prompt, "response": r.response},
        keys=SYSTEM,
    ),
    "text, label": Layout(_named("text", "label"), expected=None),
    "source, target": Layout(_named("source", "target"), expected=None),
    "translation": Layout(
        lambda r: {"translation": {"en": r.prompt, "de": r.response}}, False, expected="refused"
    ),
    "preferences": Layout(
        lambda r: {"prompt": r.prompt, "chosen": r.response, "rejected": "no"}, expected="refused"
    ),
    "whole chat as text": Layout(_text, expected="refused"),
    "tools": Layout(_tool, False, expected="refused"),
    "user last": Layout(lambda r: {"messages": _messages(r)[:-1]}, False, expected="refused"),
    "assistant first": Layout(
        lambda r: {"messages": [{"role": "assistant", "content": "Hi"}, *_messages(r)]},
        False,
        expected=None,
    ),
    "unknown role": Layout(
        lambda r: {"messages": _messages(r, ("narrator", "elf", "orc"))}, False, expected="refused"
    ),
    "roles in capitals": Layout(
        lambda r: {"messages": _messages(r, ("System", "User", "Assistant"))}, False, CHAT, None
    ),
    "two layouts": Layout(
        lambda r: {
            "question": "another",
            "answer": "x",
            "instruction": r.prompt,
            "output": r.response,
        },
        expected="refused",
    ),
    "no known key": Layout(_named("frage", "antwort"), expected="refused"),
    "response missing": Layout(lambda r: {"prompt": r.prompt}, expected="refused"),
    "texts alone": Layout(lambda r: {"0": r.prompt}, expected="refused"),
}


def _optional_answer(r: Record) -> Row:
    return {} if r.answer is None else {"answer": r.answer}
