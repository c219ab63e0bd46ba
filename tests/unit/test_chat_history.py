"""Conversations of several turns: what is rendered, and which templates are refused."""

import time

import pytest

from sft_tradeoff.chat import ChatTemplateError, chat_format, render_prompt, render_turns
from tests.chat_layouts.folders import BY_FAMILY, layout_tokenizer, templated
from tests.chat_layouts.templates import DEMANDS_SYSTEM, OPENING, TURN, TURNS

EARLIER = [
    {"role": "user", "content": "I am Zed."},
    {"role": "assistant", "content": "Hello Zed!"},
]
RECORD = {"prompt": "Who am I?", "response": "Zed."}


def stock(tokenizer, record):
    """Transformers' own rendering: with a generation prompt, and of the whole conversation."""
    turns = [{"role": "system", "content": record["system"]}] if "system" in record else []
    turns += [*record["history"], {"role": "user", "content": record["prompt"]}]
    whole = [*turns, {"role": "assistant", "content": record["response"]}]
    return (
        tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True),
        tokenizer.apply_chat_template(whole, tokenize=False),
    )


def test_turns_of_a_plain_template():
    tokenizer = templated(TURNS + TURN + OPENING)
    assert render_turns(tokenizer, RECORD | {"system": "Be brief.", "history": EARLIER}) == (
        "[system] Be brief.</s>[user] I am Zed.</s>[assistant] Hello Zed!</s>"
        "[user] Who am I?</s>[assistant] ",
        "Zed.</s>",
    )
    assert render_turns(tokenizer, RECORD | {"history": []}) == render_turns(tokenizer, RECORD)


@pytest.mark.parametrize("family", ["Gemma 2", "Gemma 3", "Llama 2 chat", "Alpaca text"])
def test_a_system_text_stands_before_the_first_turn(family, tmp_path):
    tokenizer = layout_tokenizer(family, tmp_path)
    prompt = render_prompt(tokenizer, RECORD | {"system": "Be brief.", "history": EARLIER})
    places = [prompt.index(text) for text in ("Be brief.", "I am Zed.", "Hello", "Who am I?")]
    assert places == sorted(places)
    merged = [EARLIER[0] | {"content": "Be brief.\n\nI am Zed."}, EARLIER[1]]
    if family.startswith("Gemma"):
        assert prompt == render_prompt(tokenizer, RECORD | {"history": merged})


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("m.content if loop.last or m.role != 'assistant' else ''", "2 (assistant): .* 0 times"),
        ("m.content if loop.index > messages | length - 2 else ''", "1 (user): .* 0 times"),
        ("m.content | upper if not loop.last else m.content", "1 (user): .* 0 times"),
        ("messages[0].content if loop.last else m.content", "1 (user): .* 2 times"),
    ],
)
def test_a_template_that_drops_an_earlier_turn_is_refused(content, what):
    """With one turn it works, so its users learn of it only with such data."""
    tokenizer = templated(TURNS + f"[{{{{ m.role }}}}] {{{{ {content} }}}}</s>" + OPENING)
    what = what.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ChatTemplateError, match=f"the earlier turn {what}"):
        render_turns(tokenizer, RECORD | {"history": EARLIER})


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("content", ["m.content[:40]", "m.content | replace('  ', ' ')"])
def test_a_template_that_changes_some_earlier_turns_is_refused(content, role):
    """The placeholders pass."""
    text = "It is a  long story, and it is told in so many words that it is cut off."
    body = f"{{{{ ({content}) if m.role == '{role}' else m.content }}}}"
    tokenizer = templated(TURNS + f"[{{{{ m.role }}}}] {body}</s>" + OPENING)
    history = [turn | {"content": text if turn["role"] == role else "x"} for turn in EARLIER]
    with pytest.raises(ChatTemplateError, match="changes its input"):
        render_prompt(tokenizer, RECORD | {"history": history})


THOUGHTS = EARLIER[1] | {"content": "<think>\nA name.\n</think>\n\nHello Zed!\n"}


@pytest.mark.parametrize(
    ("earlier", "rendered"),
    [
        ("m.content.split('</think>')[-1].lstrip('\\n')", "[assistant] Hello Zed!\n</s>"),
        ("(m.content.split('</think>') | last | trim)", "[assistant] Hello Zed!</s>"),
        ("m.content", f"[assistant] {THOUGHTS['content']}</s>"),
    ],
)
def test_thoughts_of_earlier_answers_are_left_out_as_the_template_does(earlier, rendered):
    """Qwen3, DeepSeek and GLM drop them. Those of the last answer are learned."""
    body = f"{{{{ m.content if loop.last or m.role == 'user' else {earlier} }}}}"
    tokenizer = templated(TURNS + f"[{{{{ m.role }}}}] {body}</s>" + OPENING)
    record = RECORD | {"history": [EARLIER[0], THOUGHTS], "response": THOUGHTS["content"]}
    prompt, response = render_turns(tokenizer, record)
    assert rendered in prompt
    assert (prompt, prompt + response) == stock(tokenizer, record)


def test_only_thoughts_may_be_left_out():
    body = "{{ m.content.split('; ')[-1] }}"
    tokenizer = templated(TURNS + f"[{{{{ m.role }}}}] {body}</s>" + OPENING)
    history = [EARLIER[0], EARLIER[1] | {"content": "Welcome; hello Zed!"}]
    with pytest.raises(ChatTemplateError, match=r"'Welcome; hello.* becomes 'hello Zed!"):
        render_prompt(tokenizer, RECORD | {"history": history})


def test_an_earlier_answer_with_thoughts_gets_no_empty_block():
    """As templates for training with TRL write it."""
    empty = "{{ '' if m.role == 'user' or '</think>' in m.content else '<think></think>' }}"
    body = f"[{{{{ m.role }}}}] {empty}{{{{ m.content }}}}</s>"
    tokenizer = templated(TURNS + body + OPENING)
    for answer in (EARLIER[1], THOUGHTS):
        record = RECORD | {"history": [EARLIER[0], answer]}
        prompt, response = render_turns(tokenizer, record)
        assert response == "<think></think>Zed.</s>"
        assert (prompt, prompt + response) == stock(tokenizer, record)


@pytest.mark.parametrize("family", ["Qwen3, thinking", "gpt-oss"])
def test_an_earlier_answer_may_be_framed_in_another_way_than_the_last(family, tmp_path):
    tokenizer = layout_tokenizer(family, tmp_path)
    rendered = render_turns(tokenizer, RECORD | {"history": EARLIER})
    learned = BY_FAMILY[family].learned.replace("ok", "{}")
    assert rendered.response == learned.format("Zed.")
    assert learned.format("Hello Zed!") not in rendered.prompt
    assert "Hello Zed!" in rendered.prompt


@pytest.mark.parametrize(("n_turns", "n_words"), [(200, 1), (2, 20_000)])
def test_turns_whose_white_space_is_trimmed_take_linear_time(n_turns, n_words):
    """The ways to trim each turn are not combined, and thoughts are not sought at every place."""
    body = "[{{ m.role }}] {{ m.content | trim }}</s>"
    tokenizer = templated(TURNS + body + OPENING)
    text = " Hello Zed!" * n_words
    history = [turn | {"content": f"{text} \n\n"} for turn in EARLIER * (n_turns // 2)]
    started = time.process_time()
    prompt, _ = render_turns(tokenizer, RECORD | {"history": history})
    assert time.process_time() - started < 1
    assert prompt.count(f"[assistant] {text.strip()}</s>") == n_turns // 2


def test_a_template_that_demands_a_system_turn_works_with_one():
    tokenizer = templated(DEMANDS_SYSTEM)
    assert chat_format(tokenizer).end_text == "</s>"
    record = RECORD | {"system": "Be brief.", "history": EARLIER}
    assert render_turns(tokenizer, record) == render_turns(
        templated(TURNS + TURN + OPENING), record
    )
    for without in (RECORD, RECORD | {"history": EARLIER}):
        with pytest.raises(ChatTemplateError, match=r"a system message comes first.*'system'"):
            render_turns(tokenizer, without)
