"""What a chat template writes around the turns, and which templates are refused."""

import pytest

from sft_tradeoff.chat import (
    ChatTemplateError,
    chat_format,
    control_token_pattern,
    control_tokens,
    render_prompt,
    render_turns,
)
from sft_tradeoff.models.random_weights import byte_tokenizer
from tests.chat_layouts.folders import BY_FAMILY, layout_tokenizer, templated
from tests.chat_layouts.templates import OPENING, TURN, TURNS

DROPPED = "the prompt: .* appears 0 times"


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
    with pytest.raises(ChatTemplateError, match=what):
        chat_format(templated(template))


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
        tokenizer = layout_tokenizer(family, tmp_path / family)
        assert render_prompt(tokenizer, {"prompt": "Hi", "system": "Be brief."}).startswith(
            expected
        )
        prompt, response = turns(tokenizer, "Hi", "ok", system="Be brief.")
        assert prompt == render_prompt(tokenizer, {"prompt": "Hi", "system": "Be brief."})
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


def test_thoughts_before_the_answer_are_not_graded(tmp_path):
    chat = chat_format(layout_tokenizer("Alpaca text", tmp_path))
    assert chat.answer("### Response:\n7 apples") == "7 apples"
    assert chat.answer("7 apples") == "7 apples"
    chat = chat_format(byte_tokenizer())
    assert chat.answer("  7 apples\n") == "  7 apples\n"  # no header: as generated
