"""Reading a line: all of it is used as meant, or the line is refused with a reason."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.own.answers import score
from sft_tradeoff.domains.own.domain import generate
from sft_tradeoff.domains.own.lines import Line, listed, parse_line, shown
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.grading.text import composed, normalize, question_key

Json = dict[str, Any]
PLAIN = {"prompt": "p", "response": "r"}


def parse(line: Json | str) -> Line:
    text = line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)
    return parse_line(7, text.encode())


def problem_of(line: Json | str) -> str:
    with pytest.raises(ValueError) as error:
        parse(line)
    return str(error.value)


def chat(*turns: Json, **keys: Any) -> Json:
    user = {"role": "user", "content": "p"}
    return {"messages": [*turns, user, {"role": "assistant", "content": "r"}], **keys}


def with_answer(**keys: Any) -> Json:
    return chat() | {"messages": [*chat()["messages"][:-1], chat()["messages"][-1] | keys]}


# --- Texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["19.90", "1e400", "-0", "1.0", "9" * 5000, "1E5"])
def test_numbers_keep_their_digits(number: str) -> None:
    line = parse(f'{{"prompt": {number}, "response": "r", "answer": {number}}}')
    assert (line.prompt, line.answer) == (number, number)
    assert type(line.prompt) is str


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_not_json_are_refused(constant: str) -> None:
    problem = problem_of(f'{{"prompt": "p", "response": {constant}}}')
    assert problem == f"not valid JSON: {constant}; correct or remove the line"


def test_a_key_that_appears_twice() -> None:
    problem = problem_of('{"prompt": "a", "response": "r", "prompt": "b"}')
    assert problem == "the key 'prompt' appears twice in one object; keep one"
    assert "'content' appears twice" in problem_of(
        '{"messages": [{"role": "user", "content": "a", "content": "b"}]}'
    )


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\ufeff \u2060", "\u3000", "\t\x00", "\xad"])
def test_invisible_texts_are_empty(text: str) -> None:
    for key in ("prompt", "response", "answer"):
        assert problem_of({**PLAIN, key: text}) == f"{key!r} is empty; correct or remove the line"


def test_texts_are_not_changed() -> None:
    for text in (" a\u200b", "e\u0301", "\ue000", "\U0001faf9", "👩\u200d🔬", "a\x0cb"):
        assert parse({**PLAIN, "response": text}).response == text


def test_a_byte_order_mark_where_files_were_joined() -> None:
    assert parse("\ufeff" + json.dumps(PLAIN)).prompt == "p"


@pytest.mark.parametrize("key", ["prompt", "response", "system"])
def test_control_characters_of_a_wrong_conversion(key: str) -> None:
    """Typographic quotes of Windows-1252, read as Latin-1."""
    text = "“yes”".encode("cp1252").decode("latin-1")
    problem = problem_of({**PLAIN, key: text})
    assert problem.startswith(
        f"{key!r} contains the control character U+0093: a file in Windows-1252"
    )
    assert "iconv -f CP1252" in problem


@pytest.mark.parametrize(
    ("latex", "swallowed"),
    [
        (r"\frac{1}{2}", r"'\x0crac'"),
        (r"\boxed{5}", r"'\x08oxed'"),
        (r"3 \times 4", r"'\times'"),
        (r"5 \text{ cm}", r"'\text'"),
        (r"\nabla f", r"'\nabla'"),
        (r"(1 \right)", r"'\right'"),
    ],
)
def test_latex_with_one_backslash_is_refused(latex: str, swallowed: str) -> None:
    """JSON reads a tab and ``imes``, without an error."""
    assert problem_of(f'{{"prompt": "p", "response": "{latex}"}}') == (
        f"'response' contains {swallowed}, LaTeX whose backslash JSON reads as an escape; "
        "write each backslash twice"
    )
    assert parse({**PLAIN, "response": latex}).response == latex
    assert parse(
        {**PLAIN, "response": "\textra\tfraction\ntablation\nablation\x0crace\rhouse\x08x"}
    ).response


# --- Chats -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("part", [{"type": "image_url", "image_url": {}}, "text", {"text": "x"}])
def test_other_parts_are_refused(part: Any) -> None:
    problem = problem_of(with_answer(content=[{"type": "text", "text": "a"}, part]))
    assert problem.startswith("'content' has a part of type ")


# --- Keys that change what is learned ----------------------------------------------------------


@pytest.mark.parametrize("key", ["weight", "train", "loss", "training"])
@pytest.mark.parametrize("zero", [0, 0.0, False])
def test_a_response_that_is_not_to_be_learned_is_refused(key: str, zero: Any) -> None:
    for line in (with_answer(**{key: zero}), {**PLAIN, key: zero}):
        problem = problem_of(line)
        assert problem.startswith(f"{key!r}: ")
        assert "says that the response is not to be learned; remove the line" in problem


@pytest.mark.parametrize("weight", [0.5, 2, "0", [1]])
def test_other_weights_are_refused(weight: Any) -> None:
    assert "is not supported: only the response is learned, with weight 1" in problem_of(
        with_answer(weight=weight)
    )


def test_weights_that_are_used_are_accepted() -> None:
    for weight in (1, 1.0, True, None):
        assert parse(with_answer(weight=weight)).unread == ()
    turns = chat()["messages"]
    assert parse({"messages": [turns[0] | {"weight": 0}, turns[1] | {"weight": 1}]}).unread == ()
    assert "'weight': 1 is not supported" in problem_of(
        {"messages": [turns[0] | {"weight": 1}, turns[1]]}
    )


@pytest.mark.parametrize(
    "key",
    [
        "tools",
        "system_prompt",
        "functions",
        "images",
        "reasoning_content",
        "thinking",
        "rejected",
        "chosen",
        "history",
        "input",
        "context",
    ],
)
def test_keys_that_would_change_the_meaning_are_refused(key: str) -> None:
    for line in ({**PLAIN, key: ["x"]}, chat(**{key: "x"}), with_answer(**{key: "x"})):
        assert problem_of(line).startswith(f"{key!r} is not supported, and without it")
    for nothing in (None, [], ""):
        assert parse({**PLAIN, key: nothing}).unread == ()


@pytest.mark.parametrize("key", ["subset", "fold", "is_test", "skip", "deleted"])
def test_marks_of_another_split_or_of_none_are_refused(key: str) -> None:
    assert problem_of({**PLAIN, key: 1}).startswith(f"{key!r} is not read, and the line would be")
    assert parse({**PLAIN, key: False}).prompt == PLAIN["prompt"]


@pytest.mark.parametrize("key", ["Answer", "answer ", "SPLIT", "\ufeffanswer", "Weight", "Tools"])
def test_keys_that_differ_in_case_and_spaces_are_refused(key: str) -> None:
    problem = problem_of({**PLAIN, key: "train"})
    assert problem.startswith("the key ") and "is not read; write" in problem
    assert "is not read; write 'weight'" in problem_of(with_answer(Weight=1))
    assert parse({**PLAIN, key: None}).unread == ()


def test_weights_and_keys_of_parts() -> None:
    part = {"type": "text", "text": "r"}
    problem = problem_of(with_answer(content=[part | {"weight": 0}]))
    assert "says that the response is not to be learned" in problem
    line = parse(with_answer(content=[part | {"weight": 1, "cache_control": {}}]))
    assert (line.response, line.unread) == ("r", ("content: 'cache_control'",))


def test_tool_calls_and_unwanted_responses() -> None:
    assert "'tool_calls' is not supported" in problem_of(with_answer(tool_calls=[{"id": "c"}]))
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
    assert shown("a\x1b\n") == r"'a\x1b\n'" and len(shown("x" * 99)) == 43
    assert listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more" and listed([]) == "none"


# --- Texts that read the same -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ho\u0302\u0301 Chi\u0301 Minh", "Hồ Chí Minh".replace("ồ", "ố")),
        ("CAFE\u0301", "café"),
        ("\u212b", "å"),  # the ångström sign is the letter
        ("ﬁx", "FIX"),
        ("ẞ", "ss"),
        ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        ("soft\u00adware\u200b", "software"),
        ("\ufeffyes", "Yes "),
        ("\u2067שלום\u2069\u200f", "שלום"),
        ("q\u0307\u0323", "q\u0323\u0307"),  # accents below and above in either order
    ],
)
def test_texts_that_read_the_same_compare_equal(one: str, other: str) -> None:
    assert normalize(one) == normalize(other)


@pytest.mark.parametrize(("one", "other"), [("10²", "102"), ("½", "1/2"), ("x₁", "x1"), ("e", "é")])
def test_texts_that_read_differently_do_not(one: str, other: str) -> None:
    assert normalize(one) != normalize(other)


@given(st.text())
def test_normal_forms_do_not_matter(text: str) -> None:
    import unicodedata

    for form in ("NFC", "NFD"):
        assert normalize(unicodedata.normalize(form, text)) == normalize(text)
    assert normalize(normalize(text)) == normalize(text)


def test_questions_are_a_system_text_and_a_prompt() -> None:
    assert question_key("Why?", "Be  brief") == question_key("why?", "be brief")
    keys = {question_key("Why?", system) for system in (None, "Be brief", "Be long")}
    assert len(keys) == 3
    assert question_key("b", "a") != question_key("a b")


def test_grading_folds_normal_forms() -> None:
    """Tokenizers that compose characters (Qwen) answer in NFC, whatever the file has."""
    gold = "cafe\u0301"
    for metric, labels in (("exact_match", []), ("choice", [gold, "the\u0301"])):
        meta = {"metric": metric, "tolerance": 0, "labels": labels}
        assert score({"answer": gold, "meta": meta}, composed(gold)).correct
        assert score({"answer": composed(gold), "meta": meta}, gold).correct
