"""A row is used as meant, or refused: nothing that changes what is learned is ignored."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from sft_tradeoff.domains.own.domain import generate
from sft_tradeoff.domains.own.keys import NO_CALLS
from sft_tradeoff.domains.own.lines import Number, listed
from sft_tradeoff.domains.registry import domain_spec
from tests.unit.domains.own.files import PLAIN, Json, chat, parse, problem_of, with_answer


@pytest.mark.parametrize("key", ["weight", "train", "loss", "training"])
@pytest.mark.parametrize("zero", [0, 0.0, False])
def test_a_response_that_is_not_to_be_learned_is_refused(key: str, zero: Any) -> None:
    for line in (with_answer(**{key: zero}), {**PLAIN, key: zero}):
        problem = problem_of(line)
        assert problem.startswith(f"{key!r}: ")
        assert "says that the response is not to be learned; remove the example" in problem


@pytest.mark.parametrize("weight", [0.5, 2, "2", "often", [1]])
def test_other_weights_are_refused(weight: Any) -> None:
    assert problem_of(with_answer(weight=weight)) == (
        f"'weight': {[Number(1)] if weight == [1] else weight!r} is not supported: only the "
        "last response is learned, with weight 1; write 1, or remove the key or the line"
    )


def test_weights_and_marks_of_a_table_are_texts() -> None:
    for cell in ("1", "1.0", "True", ""):
        line = parse({**PLAIN, "weight": cell, "skip": "False", "is_test": "0"})
        assert line.unread == ("'skip'", "'is_test'")
    assert "says that the response is not to be learned" in problem_of({**PLAIN, "weight": "0.0"})
    assert "'skip' is not read" in problem_of({**PLAIN, "skip": "True"})


def test_weights_that_are_used_are_accepted() -> None:
    for weight in (1, 1.0, True, None):
        assert parse(with_answer(weight=weight)).unread == ()
    turns = chat()["messages"]
    assert parse({"messages": [turns[0] | {"weight": 0}, turns[1] | {"weight": 1}]}).unread == ()
    assert "with weight 1; write 0, or remove the key or the line" in problem_of(
        {"messages": [turns[0] | {"weight": 1}, turns[1]]}
    )


@pytest.mark.parametrize(
    "key",
    [
        "images",
        "reasoning_content",
        "thinking",
        "choices",
    ],
)
def test_keys_that_would_change_the_meaning_are_refused(key: str) -> None:
    for line in ({**PLAIN, key: ["x"]}, chat(**{key: "x"}), with_answer(**{key: "x"})):
        assert problem_of(line).startswith(f"{key!r} is not supported, and without it")
    for nothing in (None, [], ""):
        assert parse({**PLAIN, key: nothing}).unread == ()


@pytest.mark.parametrize("key", ["rejected", "chosen", "input", "context"])
def test_texts_beside_the_prompt_or_the_turns_are_refused(key: str) -> None:
    for line in ({**PLAIN, key: "x"}, with_answer(**{key: "x"})):
        assert problem_of(line).startswith(f"{key!r} is not supported, and without it")
    assert problem_of(chat(**{key: "x"}, note="x")) == (
        f"the row has 'messages' and also {key!r}; to read the turns alone, give "
        'DATA_COLUMNS="messages=messages"'
    )
    for nothing in (None, [], ""):
        assert parse(chat(**{key: nothing})).unread == ()


@pytest.mark.parametrize("key", ["tools", "tool_calls", "functions", "function_call"])
def test_function_calls_are_written_as_text(key: str) -> None:
    """The advice holds wherever the call stands, and what it says can be learned."""
    call = {"name": "add", "arguments": {"a": 1}}
    results = [problem_of(line) for line in ({**PLAIN, key: [call]}, chat(**{key: [call]}))] + [
        problem_of(with_answer(**{key: [call]}))
    ]
    assert set(results) == {f"{key!r}: {NO_CALLS}"}
    asked, answer = chat()["messages"]
    result = {"role": "tool", "content": "3"}
    problem = problem_of({"messages": [asked, answer, result, answer]})
    assert problem == f"a turn has the role 'tool': {NO_CALLS}"
    system = {"role": "system", "content": "Tools: add(a)"}
    written = answer | {"content": json.dumps(call)}
    line = parse({"messages": [system, asked, written, result | {"role": "user"}, answer]})
    assert line.system == "Tools: add(a)"
    assert [turn["content"] for turn in line.history] == ["p", json.dumps(call)]
    assert (line.prompt, line.response) == ("3", "r")


@pytest.mark.parametrize("key", ["subset", "fold", "is_test", "skip", "deleted"])
def test_marks_of_another_split_or_of_none_are_refused(key: str) -> None:
    assert problem_of({**PLAIN, key: 1}).startswith(f"{key!r} is not read, and the line would be")
    assert parse({**PLAIN, key: False}).prompt == PLAIN["prompt"]


@pytest.mark.parametrize("key", ["Prompt", "prompt ", "\ufeffprompt", "PROMPT"])
def test_letter_case_and_spaces_of_keys_do_not_matter(key: str) -> None:
    line = parse({key: "q", "Response": "r", "ANSWER": "a", "Split": "test", "Weight": 1})
    assert (line.prompt, line.response, line.answer, line.split) == ("q", "r", "a", "test")
    assert line.unread == ()
    for name, value in (("Weight", 0), ("Tools", ["x"]), ("Skip", 1)):
        assert problem_of({key: "q", "response": "r", name: value}).startswith(f"{name!r}")
    strange = problem_of({"p\x1brompt": "q", "prompt\n": "q", "response": "r"})
    assert "the keys are 'p\\x1brompt', 'prompt\\n', 'response': no layout is" in strange
    problem = problem_of({**PLAIN, key: "q"})
    assert problem == f"the keys 'prompt', {key!r} differ only in case; remove one"


def test_keys_of_turns_are_exact() -> None:
    assert "is not read; write 'weight'" in problem_of(with_answer(Weight=1))
    assert parse(with_answer(Weight=None)).unread == ()


def test_weights_and_keys_of_parts() -> None:
    part = {"type": "text", "text": "r"}
    problem = problem_of(with_answer(content=[part | {"weight": 0}]))
    assert "says that the response is not to be learned" in problem
    line = parse(with_answer(content=[part | {"weight": 1, "cache_control": {}}]))
    assert (line.response, line.unread) == ("r", ("content: 'cache_control'",))


def test_unwanted_responses() -> None:
    assert "'label': false marks an unwanted response" in problem_of({**PLAIN, "label": False})
    assert parse({**PLAIN, "label": 0}).unread == ("'label'",)
    assert parse({**PLAIN, "is_correct": False, "note": []}).unread == ("'is_correct'",)


def test_other_keys_are_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": f"q{i}", "response": "r", "id": i, "note": None} for i in range(6)]
    turns = chat()["messages"]
    rows.append({"messages": [turns[0] | {"name": "Ann"}, turns[1]], "\x1b[31m": 1})
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):
        generate(domain_spec(name="own", path=str(path), n_train=9, n_validation=0, n_test=2))
    (warning,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert warning.endswith(
        "keys that are not read, with the number of lines: 'id' (6), '\\x1b[31m' (1), "
        "messages: 'name' (1)"
    )


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        (
            "r\ufffd",
            "lines with U+FFFD, which replaces a character los",
        ),
        ("\x1b[31mr", "lines with control characters, such as terminal colors"),
        ("cafÃ©", "lines with UTF-8 text that was read as Windows-1252"),
        ("itâ€™s", "lines with UTF-8 text that was read as Windows-1252"),
        ("[INST] r [/INST]", "lines with marks of a chat template"),
        ("r<|eot_id|>", "lines with marks of a chat template"),
        ("r</s>", "lines with marks of a chat template"),
        ("Solve.\n### Response:\nr", "lines with marks of a chat template"),
        ("café, 5 €, “r” 한국 Ã <b>x</b> [1] ###", None),
    ],
)
def test_signs_of_damage_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, remark: str | None
) -> None:
    rows = [{"prompt": f"q{i}", "response": text if i > 2 else "r"} for i in range(6)]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    generate(domain_spec(name="own", path=str(path), n_train=9, n_validation=0, n_test=2))
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(told) == (remark is not None)
    if remark:
        assert told[0].startswith(f"warning: {path}: {remark}")
        assert told[0].endswith(": 3 (line 4 first)")


@pytest.mark.parametrize(
    "line",
    [
        {"\x1b[31m" + "k" * 10_000: 1, **{f"k{i}": 1 for i in range(1000)}},
        {**PLAIN, "split": "\x1b[31m" + "x" * 10_000},
        {"messages": [{"role": "\x1b[31m" + "x" * 10_000, "content": "x"}] * 1000},
        {"messages": [{"role": "\x1b" * 100, "content": "x"}, chat()["messages"][1]]},
        f'{{"{"k" * 10_000}": 1, "{"k" * 10_000}": 1}}',
    ],
)
def test_what_is_quoted_is_short_and_harmless(line: Json | str) -> None:
    problem = problem_of(line)
    assert len(problem) < 600 and problem.isprintable()


def test_values_are_quoted_in_one_short_line() -> None:
    assert "'weight': 0.0 says that" in problem_of({**PLAIN, "weight": 0.0})
    assert listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more" and listed([]) == "none"
