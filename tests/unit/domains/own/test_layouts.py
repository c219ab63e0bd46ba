"""The common layouts: each gives the prompt, response and history that its authors mean."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from sft_tradeoff.domains.own.domain import generate
from sft_tradeoff.domains.own.read import read_file
from sft_tradeoff.domains.own.spec import parse_columns
from tests.unit.domains.own.files import (
    GOOD,
    Json,
    parse,
    problem_of,
    problems_of,
    question,
    spec,
    write,
)

SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "r"}]
CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
PAIR = {"input": "q", "output": "r"}
TWO = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}, *CHAT]
EARLIER = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "r"})


# Row, prompt, response, and what else is read.
LAYOUTS: list[tuple[Json, str, str, dict[str, Any]]] = [
    ({"prompt": "q", "response": "r"}, "q", "r", {}),
    ({"prompt": "q", "completion": "r"}, "q", "r", {}),
    ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "q", "r", {}),
    ({"prompt": TWO[:3], "completion": TWO[3:]}, "q", "r", {"history": EARLIER}),
    ({"prompt": "q", "completion": CHAT[1:]}, "q", "r", {}),
    ({"prompt": CHAT[:1], "completion": "r"}, "q", "r", {}),
    ({"instruction": "q", "input": "", "output": "r"}, "q", "r", {}),
    ({"instruction": "q", "input": "i", "output": "r"}, "q\n\ni", "r", {}),
    ({"instruction": "q", "input": None, "output": "r", "system": "s"}, "q", "r", {"system": "s"}),
    (
        {"instruction": "q", "output": "r", "history": [["q", "r"]], "input": "i"},
        "q\n\ni",
        "r",
        {"history": EARLIER},
    ),
    ({"instruction": "q", "output": "r", "history": []}, "q", "r", {}),
    ({"instruction": "q", "context": "c", "response": "r", "category": "x"}, "q\n\nc", "r", {}),
    ({"conversations": SHARED}, "q", "r", {}),
    ({"conversations": SHARED * 2, "system": "s"}, "q", "r", {"history": EARLIER, "system": "s"}),
    (
        {"conversations": [{"from": "system", "value": "s"}, *SHARED], "id": "1"},
        "q",
        "r",
        {"system": "s"},
    ),
    ({"conversation": CHAT, "language": "English"}, "q", "r", {}),
    (
        {"conversation": [PAIR | {"system": "s"}, PAIR]},
        "q",
        "r",
        {"history": EARLIER, "system": "s"},
    ),
    ({"prompt": "q ", "messages": CHAT}, "q", "r", {}),
    ({"messages": TWO}, "q", "r", {"history": EARLIER}),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, CHAT[1]]},
        "q",
        "r",
        {},
    ),
    ({"prompt": "q", "prompt_id": "0", "messages": TWO}, "q", "r", {"history": EARLIER}),
    ({"id": "0", "data": ["q", "r", "q", "r"]}, "q", "r", {"history": EARLIER}),
    ({"question": "q", "answer": "r"}, "q", "r", {}),
    ({"Question": "q", "Answer": "r"}, "q", "r", {}),
    ({"question": "q", "response": "r", "answer": "a"}, "q", "r", {"answer": "a"}),
    ({"system_prompt": "s", "question": "q", "response": "r"}, "q", "r", {"system": "s"}),
    ({"query": "q", "response": "r", "type": "x", "original_question": "o"}, "q", "r", {}),
    ({"problem": "q", "solution": "r", "answer": 7}, "q", "r", {"answer": "7"}),
    ({"problem": "o", "solution": "o", "messages": CHAT}, "q", "r", {}),
    ({"inputs": "q", "targets": "r"}, "q", "r", {}),
    ({"input": "q", "output": "r"}, "q", "r", {}),
    ({"text": "q", "label": "r"}, "q", "r", {}),
]


@pytest.mark.parametrize(
    ("row", "prompt", "response", "more"), LAYOUTS, ids=[" ".join(row) for row, *_ in LAYOUTS]
)
def test_a_layout_is_read_as_meant(
    row: Json, prompt: str, response: str, more: dict[str, Any]
) -> None:
    line = parse(row)
    assert (line.prompt, line.response) == (prompt, response)
    expected = {"system": None, "history": (), "answer": response, **more}
    assert {key: getattr(line, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"question": "q", "answer": "a", "output": "o"},
            "'output' may be prompt or response, too",
        ),
        ({"question": "q", "prompt": "q", "answer": "a"}, "could be read as 'prompt and answer', "),
        ({"prompt": "q", "completion": "c", "output": "o"}, "could be read as 'prompt and comple"),
        ({"messages": CHAT, "conversations": SHARED}, "could be read as 'messages', 'conversa"),
        ({"messages": CHAT, "prompt": "other"}, "'messages' does not begin with 'prompt'; give ei"),
        ({"messages": CHAT, "prompt": "q", "response": "x"}, "could be read as 'messages', 'prom"),
        ({"messages": CHAT[:1], "response": "r"}, "'response' may be the response to 'messages',"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "the rows compare responses; to learn"),
        ({"chosen": CHAT, "rejected": CHAT}, "the rows compare responses; to learn the chosen on"),
        ({"prompt": "q", "completion": "r", "label": False}, "'label': false marks an unwanted re"),
        ({"chosen": "Human: q", "rejected": "Human: q"}, "each row is one text ('chosen'), so pro"),
        ({"text": "[INST] q [/INST] r"}, "each row is one text ('text'), so prompt and response c"),
        ({"text": "q", "label": 1}, "'label' is a number; write the name of its class instead or"),
        ({"sentence": "q", "class": "r"}, "the keys are 'sentence', 'class': no layout is known"),
        ({"question": "q", "choices": ["a"], "answer": 0}, "'choices' is not supported, and with"),
        ({"question": "q", "context": "c", "answers": {}}, "the keys are 'question', 'context', "),
        ({"instruction": "q", "output": "r", "history": [["q"]]}, "'history' must be a list of pa"),
        ({"prompt": "q", "response": "r", "system": "s", "system_prompt": "t"}, "give one system"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_told_is_asked(row: Json, problem: str) -> None:
    assert problem in problem_of(row).replace("\n  ", " ")


def test_rows_of_several_layouts_are_read_and_each_layout_is_said(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sft_tradeoff")
    alpaca = [{"instruction": f"Say {i}", "input": "", "output": "r"} for i in range(3)]
    shared = [{"conversations": SHARED}]
    data = read_file(write(file, [*GOOD, *alpaca, *shared]))
    read_file(file)
    assert data.problems == () and len(data.lines) == 8
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "read as Alpaca: 'instruction' + 'input' → prompt, 'output' → response",
        "read as ShareGPT: 'conversations' → turns",
    ]


def test_keys_that_are_missing_are_those_of_the_file_s_layout(file: Path) -> None:
    rows = [{"question": f"q{i}", "answer": "a"} for i in range(4)]
    write(file, [*rows, {"question": "q"}, {"answer": "a", "id": 1}])
    assert problems_of(file) == [
        "line 5: 'answer' is missing (keys: 'question'); add it, or remove the example",
        "line 6: 'question' is missing (keys: 'answer', 'id'); add it, or remove the example",
    ]


def test_answers_of_gsm8k(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sft_tradeoff")
    rows = [
        {"question": f"{i}?", "answer": f"So <<{i}+1={i + 1}>>.\n#### {1000 * i:,}"}
        for i in range(4)
    ]
    data = read_file(write(file, rows))
    assert [line.answer for line in data.lines] == ["0", "1,000", "2,000", "3,000"]
    assert [line.response for line in data.lines] == [row["answer"] for row in rows]
    assert "grade them with METRIC=numeric" in caplog.messages[-1]
    assert len(generate(spec(file, metric="numeric"))["test"]) == 2
    write(file, [*rows, question(1, response="So\n#### A heading")])
    assert read_file(file).lines[0].answer == rows[0]["answer"]
    write(file, [row | {"final": 1, "response": row["answer"], "answer": "7"} for row in rows])
    assert {line.answer for line in read_file(file).lines} == {"7"}


# --- The user names the columns --------------------------------------------------------------


def test_named_columns_are_all_that_is_read(file: Path) -> None:
    row = {"Frage": "q", "Antwort": 7.5, "tools": ["x"], "answer": "no", "Teil": "test"}
    write(file, [row] * 3)
    columns = {"prompt": "Frage", "response": "Antwort", "split": "Teil"}
    line = read_file(file, columns).lines[0]
    assert (line.prompt, line.response, line.answer, line.split) == ("q", "7.5", "7.5", "test")
    assert line.unread == ("'tools'", "'answer'")


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"prompt": "q", "chosen": "r", "rejected": "x"}, "prompt=prompt response=chosen"),
        ({"chosen": CHAT, "rejected": CHAT}, "messages=chosen"),
        (
            {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": CHAT[1:]},
            "prompt=prompt response=chosen",
        ),
        ({"prompt": "q", "chosen": CHAT, "rejected": CHAT}, "prompt=prompt response=chosen"),
        ({"text": "q", "label": "r"}, "prompt=text response=label"),
        ({"messages": CHAT[:1], "response": "r"}, "prompt=messages response=response"),
        ({"messages": CHAT, "response": "other"}, "messages=messages"),
        ({"my question": "q", "b": "r"}, 'prompt="my question" response=b'),
    ],
)
def test_the_columns_that_are_advised(file: Path, row: Json, columns: str) -> None:
    line = read_file(write(file, [row] * 3), parse_columns(columns)).lines[0]
    assert (line.prompt, line.response, line.history) == ("q", "r", ())


def test_a_number_after_a_blank_is_no_gold_answer_of_gsm8k(file: Path) -> None:
    lines = read_file(write(file, [question(i, response=f" {i}.") for i in range(4)])).lines
    assert [line.answer for line in lines] == ["0.", "1.", "2.", "3."]


def test_the_advice_quotes_keys_with_a_blank(file: Path) -> None:
    row = {"Customer Question": "q", "Our Reply": "r"}
    with pytest.raises(ValueError) as error:
        read_file(write(file, [row] * 3))
    option = re.search(r'DATA_COLUMNS="(.*?)"', str(error.value))
    assert option is not None
    line = read_file(file, parse_columns(option[1])).lines[0]
    assert (line.prompt, line.response) == ("q", "r")


def test_advice_for_preferences(file: Path) -> None:
    alone = {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": CHAT[1:]}
    with pytest.raises(ValueError, match='DATA_COLUMNS="prompt=prompt response=chosen"'):
        read_file(write(file, [alone] * 3))


def test_a_column_that_the_file_has_not(file: Path) -> None:
    with pytest.raises(ValueError, match=r"no row has the key 'q' for 'prompt' \(keys: 'prompt', "):
        read_file(write(file, GOOD), {"prompt": "q", "response": "response"})


@pytest.mark.parametrize(
    "text",
    ["prompt", "prompt=", "promptt=a response=b", "prompt=a prompt=b response=c", '"prompt=a'],
)
def test_columns_that_cannot_be_read(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"data columns: .* (cannot be read; write|names something)"
    ):
        parse_columns(text)


@pytest.mark.parametrize(
    "columns",
    [{"prompt": "a"}, {"response": "a"}, {"system": "a"}, {"messages": "a", "response": "b"}],
)
def test_columns_must_be_complete(file: Path, columns: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"DATA_COLUMNS \(in a study file, columns\) names"):
        spec(file, columns=columns)


def test_a_column_is_read_once(file: Path) -> None:
    with pytest.raises(ValueError, match="reads 'text' as prompt and as response; name another"):
        spec(file, columns={"prompt": "text", "response": "text"})
