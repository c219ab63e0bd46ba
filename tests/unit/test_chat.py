"""What a chat template writes around the turns, and which templates are refused."""

import datetime

import pytest
import transformers.utils.chat_template_utils as template_utils

from sft_tradeoff.chat import (
    ChatTemplateError,
    chat_format,
    control_token_pattern,
    control_tokens,
    render_prompt,
    render_turns,
    with_variables,
    without_clock,
)
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tokenizer import load_tokenizer
from tests.chat_layouts.folders import write_tokenizer
from tests.chat_layouts.layouts import LAYOUTS

BY_FAMILY = {layout.family: layout for layout in LAYOUTS}
TURNS = "{% for m in messages %}"
TURN = "[{{ m.role }}] {{ m.content }}</s>"
DROPPED = "the prompt: .* appears 0 times"
OPENING = "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"


def templated(template):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def layout_tokenizer(family, folder):
    write_tokenizer(BY_FAMILY[family], folder)
    return load_tokenizer(folder)


def turns(tokenizer, prompt="2+2?", response="4", **more):
    found = render_turns(tokenizer, {"prompt": prompt, "response": response, **more})
    return found.prompt, found.response


def test_turns_of_a_plain_template():
    assert turns(templated(TURNS + TURN + OPENING)) == ("[user] 2+2?</s>[assistant] ", "4</s>")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("m.content | lower", "rewrites the"),
        ("m.content | replace('  ', ' ')", "becomes"),
        ("m.content[:30]", "becomes"),
        ("m.content.split('</think>')[-1]", "becomes"),
        ("m.content[-30:]", "becomes"),
    ],
)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_template_that_changes_a_turn_is_refused(content, what, role):
    """Templates that change only some turns: the placeholders pass through most of them."""
    body = f"[{{{{ m.role }}}}] {{{{ ({content}) if m.role == '{role}' else m.content }}}}</s>"
    text = "A  <think>b</think> c, and so on, and so on"
    with pytest.raises(ChatTemplateError, match=what):
        turns(templated(TURNS + body + OPENING), text, text)


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (TURNS + "{% if m.role != 'user' %}" + TURN + "{% endif %}" + OPENING, DROPPED),
        (TURNS + TURN + "{{ m.content }}" + OPENING, "the prompt: .* appears 2 times"),
        (
            TURNS + TURN + "{% endfor %}{% if add_generation_prompt %}<think>{% endif %}",
            "opens an answer with '<think>'",
        ),
        ("{% for m in messages | reverse %}" + TURN + OPENING, "opens an answer with"),
        (
            TURNS
            + "{% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %}"
            + OPENING,
            DROPPED,
        ),
        (TURNS + "{{ m.content", r"cannot be rendered \(TemplateSyntaxError"),
        (TURNS + "{{ m.contents.text }}{% endfor %}", r"cannot be rendered \(UndefinedError"),
        (
            TURNS + "{{ raise_exception('a system turn comes first') }}{% endfor %}",
            "a system turn comes first",
        ),
        (TURNS + "{{ 1 + m.content }}{% endfor %}", r"cannot be rendered \(TypeError"),
    ],
)
def test_a_template_that_drops_or_moves_a_turn_is_refused(template, what):
    with pytest.raises(ChatTemplateError, match=what) as caught:
        chat_format(templated(template))
    assert "chat_template" in str(caught.value)  # where it is mended


@pytest.mark.parametrize("text", [" x ", "\nx\n", "x\n\n", "\t x"])
@pytest.mark.parametrize("trim", ["| trim", ".lstrip('\\n')", ".rstrip()"])
def test_white_space_may_be_trimmed(trim, text):
    body = f"[{{{{ m.role }}}}] {{{{ m.content{trim} }}}}</s>"
    prompt, response = turns(templated(TURNS + body + OPENING), text, text)
    assert "".join((prompt + response).split()) == "[user]x</s>[assistant]x</s>"


def test_an_answer_that_occurs_in_the_header_is_the_last_part(tmp_path):
    tokenizer = layout_tokenizer("Qwen3, thinking", tmp_path)
    for answer in ("t", "think", "<think>", "\n"):
        _, response = turns(tokenizer, response=answer)
        assert response == f"<think>\n\n</think>\n\n{answer}<|im_end|>"


def test_a_system_turn_is_one_where_the_template_has_it(tmp_path):
    for family, expected in (
        ("Qwen2.5 instruct, SmolLM2", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user"),
        ("Gemma 3", "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>"),
        ("Gemma 2", "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>"),  # raises for one
    ):
        folder = tmp_path / family
        folder.mkdir()
        tokenizer = layout_tokenizer(family, folder)
        assert render_prompt(tokenizer, "Hi", "Be brief.").startswith(expected)
        prompt, response = turns(tokenizer, "Hi", "ok", system="Be brief.")
        assert prompt == render_prompt(tokenizer, "Hi", "Be brief.")
        assert response == BY_FAMILY[family].learned


def test_control_tokens_are_those_with_the_flag_named_or_not(tmp_path):
    """Gemma 3's end of turn is not a named token of its tokenizer."""
    tokenizer = layout_tokenizer("Gemma 3", tmp_path)
    assert "<end_of_turn>" not in tokenizer.all_special_tokens
    assert "<end_of_turn>" in control_tokens(tokenizer)
    found = control_token_pattern(tokenizer).search("a < b <end_of_turn> <eos>")
    assert found is not None and found[0] == "<end_of_turn>"
    assert control_token_pattern(tokenizer).search("a < b, &lt;eos&gt; [end_of_turn]") is None


def test_a_mark_that_opens_a_turn_is_a_control_token_without_the_flag(tmp_path):
    """Thoughts are not a turn, and in Gemma a line break opens one without being a mark."""
    family = "ChatML, marks without the special flag"
    tokenizer = layout_tokenizer(family, tmp_path)
    assert "<|im_start|>" not in control_tokens(tokenizer)
    assert control_token_pattern(tokenizer).search("Hi<|im_start|>user")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["\n", "<think>"])
    opening = OPENING.replace("[assistant] ", "[assistant]\n")
    tokenizer.chat_template = TURNS + "[{{ m.role }}]\n{{ m.content }}</s>" + opening
    assert control_token_pattern(tokenizer).search("a\nb <think>") is None


def test_a_variable_of_the_template_is_read_as_it_is_given():
    tokenizer = byte_tokenizer()
    for mood in ('so "kind" \\ é \U0001f600', "{{ 1 }}"):
        tokenizer.chat_template = with_variables(
            "{{ mood }}" + TURNS + TURN + OPENING, {"mood": mood}
        )
        assert render_prompt(tokenizer, "Hi") == f"{mood}[user] Hi</s>[assistant] "


def test_thoughts_before_the_answer_are_not_graded(tmp_path):
    chat = chat_format(layout_tokenizer("Alpaca text", tmp_path))
    assert chat.answer("### Response:\n7 apples") == "7 apples"
    assert chat.answer("7 apples") == "7 apples"
    chat = chat_format(byte_tokenizer())
    assert chat.answer("  7 apples\n") == "  7 apples\n"  # no header: as generated


@pytest.mark.parametrize(
    ("template", "variables"),
    [
        ("You are a model.{% if think is defined and not think %}x{% endif %}", {"think"}),
        ("{% set mood = mood | default('a') %}{{ mood.name }}{# note #}", {"mood"}),
        ("{% if not day is defined %}{% set day = '26' %}{% endif %}{{ day }}", {"day"}),
        (
            "{%- generation -%}{{ x }}{% endgeneration %}{% for m in [1] %}{% break %}{% endfor %}",
            {"x"},
        ),
    ],
)
def test_variables_that_a_template_reads(template, variables):
    for name in ("You", "model", "a", "name", "note", "m", "think", "mood", "day", "x"):
        if name in variables:
            assert with_variables(template, {name: "v"}) == f'{{%- set {name} = "v" %}}{template}'
        else:
            with pytest.raises(ChatTemplateError, match=f"does not read the variable '{name}'"):
                with_variables(template, {name: "v"})


def test_a_date_is_the_same_on_any_day(tmp_path, monkeypatch):
    class Day(datetime.datetime):
        shown = "2026-11-29"

        @classmethod
        def now(cls, tz=None):
            return cls.fromisoformat(cls.shown)

    monkeypatch.setattr(template_utils, "datetime", Day)
    tokenizer = layout_tokenizer("Llama 3.2 instruct", tmp_path)
    found = set()
    for Day.shown in ("2026-11-29", "2027-01-01"):
        found.add(render_prompt(tokenizer, "Hi"))
    assert len(found) == 1
    assert "Today Date: 26 Jul 2024\n" in found.pop()


@pytest.mark.parametrize(
    ("template", "fixed"),
    [
        ("{{ strftime_now('%Y-%m-%d') }}", "{{ '2024-07-26' }}"),
        ('{{ strftime_now( "%d" ) ~ "x" }}', "{{ '26' ~ \"x\" }}"),
        *[(same, same) for same in ("{% if strftime_now is defined %}x{% endif %}", "no clock")],
    ],
)
def test_calls_of_the_clock_become_its_fixed_answer(template, fixed):
    assert without_clock(template) == fixed


@pytest.mark.parametrize("call", ["strftime_now(form)", "strftime_now('%d' ~ x)", "strftime_now"])
def test_a_clock_that_cannot_be_fixed_is_refused(call):
    with pytest.raises(ChatTemplateError, match="write a date into"):
        without_clock(f"{{{{ {call} }}}}")


@pytest.mark.parametrize(("value", "written"), [(0, "none"), (False, "none"), ("0", "0"), (9, "9")])
def test_a_variable_keeps_its_type(value, written):
    """Seed-OSS compares its budget with 0, which a text never is; 1 is not true."""
    spec = ModelSpec(asset="x", chat_template_args={"budget": value})
    template = "{{ 'none' if budget == 0 else budget }}" + TURNS + TURN + OPENING
    tokenizer = templated(with_variables(template, spec.chat_template_args))
    assert render_prompt(tokenizer, "a").startswith(written + "[user]")
