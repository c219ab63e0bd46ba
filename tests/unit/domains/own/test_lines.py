"""A text is used as written, or its line is refused with a reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.own import json_rows
from sft_tradeoff.domains.own.answers import score
from sft_tradeoff.grading.text import composed, normalize, question_key
from tests.unit.domains.own.files import PLAIN, parse, problem_of


@pytest.mark.parametrize("number", ["19.90", "1e400", "-0", "1.0", "9" * 5000, "1E5"])
def test_numbers_keep_their_digits(number: str) -> None:
    line = parse(f'{{"prompt": {number}, "response": "r", "answer": {number}}}')
    assert (line.prompt, line.answer) == (number, number)
    assert type(line.prompt) is str


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_not_json_are_refused(constant: str) -> None:
    problem = problem_of(f'{{"prompt": "p", "response": {constant}}}')
    assert problem == f"not valid JSON: {constant}; correct or remove the example"


def test_a_key_that_appears_twice() -> None:
    problem = problem_of('{"prompt": "a", "response": "r", "prompt": "b"}')
    assert problem == "the key 'prompt' appears twice in one object; keep one"
    assert "'content' appears twice" in problem_of(
        '{"messages": [{"role": "user", "content": "a", "content": "b"}]}'
    )


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\ufeff \u2060", "\u3000", "\t\x00", "\xad"])
def test_invisible_texts_are_empty(text: str) -> None:
    for key in ("prompt", "response", "answer"):
        assert (
            problem_of({**PLAIN, key: text}) == f"{key!r} is empty; correct or remove the example"
        )


def test_texts_are_not_changed() -> None:
    for text in (" a\u200b", "e\u0301", "\ue000", "\U0001faf9", "👩\u200d🔬", "a\x0cb"):
        assert parse({**PLAIN, "response": text}).response == text


def test_a_byte_order_mark_where_files_were_joined() -> None:
    first, second = (json.dumps(PLAIN | {"prompt": prompt}) for prompt in "ab")
    table = json_rows.read_json(f"{first}\n\ufeff{second}\n".encode())
    assert [row["prompt"] for _, row in table.rows] == ["a", "b"]


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
        {
            **PLAIN,
            "response": "\textra\tfraction\ntablation\nablation\nabla o\x0crace\rhouse\x08x",
        }
    ).response


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
