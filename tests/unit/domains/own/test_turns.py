"""Conversations: every turn is read as meant, or the line is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.domains.own.files import PLAIN, Json, chat, parse, problem_of, with_answer


@pytest.mark.parametrize(
    ("line", "system"),
    [
        (chat(), None),
        (chat({"role": "system", "content": "Be brief."}), "Be brief."),
        (chat({"role": "system", "content": " "}), None),
        (chat({"role": "system", "content": None}), None),
        (chat(system="Be brief."), "Be brief."),
        (chat({"role": "system", "content": ""}, system="Be brief."), "Be brief."),
        ({**PLAIN, "system": "Be brief."}, "Be brief."),
        ({**PLAIN, "system": ""}, None),
    ],
)
def test_system_texts(line: Json, system: str | None) -> None:
    assert (parse(line).system, parse(line).prompt) == (system, "p")


def test_two_system_texts_are_refused() -> None:
    problem = problem_of(chat({"role": "system", "content": "a"}, system="b"))
    assert problem == "give either 'system' or a turn of the role system, not both"


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parse(with_answer(content=parts)).response == "ab"


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"type": "image_url", "image_url": {}}, "'content' has a part of type 'image_url'; only"),
        ({"type": "text"}, "'content' has a part of type 'text'; only text is supported: remove"),
        ("text", "'content' has the part 'text'; write it as"),
    ],
)
def test_other_parts_are_refused(part: Any, problem: str) -> None:
    content = [{"type": "text", "text": "a"}, part]
    assert problem_of(with_answer(content=content)).startswith(problem)


def turns(roles: str, **keys: Any) -> Json:
    """``sua``: system, user, assistant; the texts are numbered."""
    names = {"s": "system", "u": "user", "a": "assistant"}
    content = [{"role": names[role], "content": f"{role}{i}"} for i, role in enumerate(roles)]
    return {"messages": content, **keys}


def test_the_last_response_is_learned_and_the_turns_before_it_are_its_history() -> None:
    line = parse(turns("suauaua"))
    assert (line.system, line.prompt, line.response) == ("s0", "u5", "a6")
    assert line.history == tuple(turns("suaua")["messages"][1:])
    assert parse(turns("ua")).history == ()


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        ("uau", "'messages' ends with the role 'user'; the last turn must be the assistant's, whi"),
        ("uas", "'messages' ends with the role 'system'; the last turn must be the assistant's, w"),
        ("s", "'messages' ends with the role 'system'"),
        ("a", "'messages' begins with the assistant; remove its first turn, or the line"),
        ("sa", "'messages' begins with the assistant"),
        ("aua", "'messages' begins with the assistant"),
        ("uua", "'messages' has two turns of the user in a row; join them into one"),
        ("uaa", "'messages' has two turns of the assistant in a row; join them into one"),
        ("usa", "'messages' has a system turn after the first turn; write one system text, as t"),
        ("ssua", "'messages' has a system turn after the first turn"),
    ],
)
def test_an_order_of_turns_that_cannot_be_used(roles: str, problem: str) -> None:
    assert problem_of(turns(roles)).startswith(problem)


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        ("User", "Assistant"),
        ("human", "gpt"),
        ("Human", "model"),
        ("USER ", "bot"),
        ("human", "AI"),
    ],
)
def test_roles_have_synonyms(user: str, assistant: str) -> None:
    named = [{"role": user, "content": "p"}, {"role": assistant, "content": "r"}]
    line = parse({"messages": named})
    assert (line.prompt, line.response) == ("p", "r")


def test_developer_is_the_system() -> None:
    assert parse(chat({"role": "developer", "content": "Be brief."})).system == "Be brief."


@pytest.mark.parametrize(
    ("turn", "problem"),
    [
        ({"content": "p"}, "a turn has no 'role' (keys: 'content'); write 'system', 'user' or"),
        ({"role": ["user"], "content": "p"}, "the role ['user'] is unknown; write 'system', 'us"),
        ({"role": "narrator", "content": "p"}, "the role 'narrator' is unknown; write 'system',"),
        ({"role": "tool", "content": "p"}, "a turn has the role 'tool': function calls cannot"),
        ({"from": "observation", "value": "p"}, "a turn has the role 'observation': function ca"),
        ({"role": "user"}, "'content' is missing (keys: 'role'); add it, or remove the example"),
        ({"role": "user", "content": ""}, "'content' is empty; correct or remove the example"),
        ({"role": "user", "content": 7.5}, None),
        ({"Role": "user", "content": "p"}, "the key 'Role' is not read; write 'role', or remove"),
        ("p", "'messages' must be a list of objects with 'role' and 'content', got text"),
    ],
)
def test_a_turn_that_cannot_be_used(turn: Any, problem: str | None) -> None:
    line = {"messages": [turn, {"role": "assistant", "content": "r"}]}
    if problem is None:
        assert parse(line).prompt == "7.5"
    else:
        assert problem_of(line).startswith(problem)


def test_turns_may_be_texts_or_json() -> None:
    assert parse({"conversations": ["a", "b", "c", "d"]}).history == (
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    )
    assert parse({"messages": json.dumps(turns("ua")["messages"])}).prompt == "u0"
    assert "ends with the role 'user'" in problem_of({"conversations": ["a", "b", "c"]})


def test_only_the_last_response_has_a_weight() -> None:
    """Elsewhere the earlier response would be learned, too."""
    messages = turns("uaua")["messages"]
    messages[1]["weight"] = 1
    assert problem_of({"messages": messages}).startswith("'weight': 1 is not supported")
    messages[1]["weight"] = 0
    assert parse({"messages": messages}).response == "a3"


def test_the_system_text_of_a_prompt_is_kept() -> None:
    system, user = {"role": "system", "content": "S"}, {"role": "user", "content": "u"}
    answer = {"role": "assistant", "content": "a"}
    line = parse({"prompt": [system, user], "completion": [user, answer]})
    assert (line.system, line.prompt, line.response, line.history) == ("S", "u", "a", ())
    assert parse({"prompt": [system, user], "completion": [system, user, answer]}).system == "S"
    other = {"role": "system", "content": "T"}
    two = {"prompt": [system, user], "completion": [other, user, answer]}
    assert problem_of(two) == "give one system text, not 'S', 'T'"


def test_other_keys_of_pairs_of_texts_are_not_passed_over() -> None:
    def pairs(**keys: Any) -> Json:
        return {"conversation": [{"input": "u", "output": "a", "system": "S", **keys}]}

    assert parse(pairs(id=1)).unread == ("messages: 'id'",)
    assert parse(pairs(weight=1)).response == "a"
    assert "'weight': 0 says that the response is not to be learned" in problem_of(pairs(weight=0))
    assert "'reasoning' is not supported" in problem_of(pairs(reasoning="deep"))


def test_a_history_in_a_cell_is_json() -> None:
    row = {"instruction": "c", "output": "d"}
    assert parse({**row, "history": "[]"}).history == ()
    assert [turn["content"] for turn in parse({**row, "history": '[["a", "b"]]'}).history] == [
        "a",
        "b",
    ]
    assert "'history' must be a list" in problem_of({**row, "history": "a and b"})
