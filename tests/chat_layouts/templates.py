"""Chat templates, reduced to what they write."""

from __future__ import annotations

import json

# A plain template in parts, for tests that change one of them.
TURNS = "{% for m in messages %}"
TURN = "[{{ m.role }}] {{ m.content }}</s>"
OPENING = "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
DEMANDS_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('a system message comes first') }}"
    "{% endif %}" + TURNS + TURN + OPENING
)


def chat(
    user: tuple[str, str],
    answer: tuple[str, str],
    *,
    start: str = "",
    system: tuple[str, str] | None = None,
    opening: str | None = None,
    end: str = "",
    content: str = "m.content",
    earlier: tuple[str, str] | None = None,
    kept: str = "m.content",
) -> str:
    """Build a template.

    Args:
        user: Text around a user's turn.
        answer: Text around an assistant's turn.
        start: Text before all turns.
        system: Text around a system turn; None: such a turn is an error.
        opening: The generation prompt; None: the text before an answer; "": there is none.
        end: Text after a finished conversation.
        content: Jinja expression of a turn's text.
        earlier: Text around an assistant's turn that is not the last one; None: as around the last.
        kept: Jinja expression of such a turn's text.
    """

    def turn(around: tuple[str, str], content: str = content) -> str:
        return f"{{{{ {json.dumps(around[0])} + {content} + {json.dumps(around[1])} }}}}"

    refuse = "{{ raise_exception('System role not supported') }}"
    opening = answer[0] if opening is None else opening
    before = f"{{% elif not loop.last %}}{turn(earlier, kept)}" if earlier else ""
    return (
        f"{{{{ {json.dumps(start)} }}}}{{% for m in messages %}}"
        f"{{% if m.role == 'user' %}}{turn(user)}"
        f"{{% elif m.role == 'system' %}}{turn(system) if system else refuse}"
        f"{before}{{% else %}}{turn(answer)}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {json.dumps(opening)} }}}}"
        f"{{% else %}}{{{{ {json.dumps(end)} }}}}{{% endif %}}"
    )


def chatml(opening: str | None = None, before: str = "", kept: str = "m.content") -> str:
    """``<|im_start|>role\\n...<|im_end|>\\n``; ``before`` stands only before the last answer."""
    user = ("<|im_start|>user\n", "<|im_end|>\n")
    system = ("<|im_start|>system\n", "<|im_end|>\n")
    answer = (f"<|im_start|>assistant\n{before}", "<|im_end|>\n")
    earlier = (ASSISTANT, answer[1]) if before else None
    return chat(user, answer, system=system, opening=opening, earlier=earlier, kept=kept)


ASSISTANT = "<|im_start|>assistant\n"
EMPTY = "<think>\n\n</think>\n\n"
_WITHOUT_THOUGHTS = "m.content.split('</think>')[-1].lstrip('\\n')"
_QWEN3 = chatml("", EMPTY, _WITHOUT_THOUGHTS)
QWEN3 = _QWEN3.removesuffix('{{ "" }}{% else %}{{ "" }}{% endif %}') + (
    f"{{{{ {json.dumps(ASSISTANT)} }}}}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    f"{{{{ {json.dumps(EMPTY)} }}}}{{% endif %}}{{% endif %}}"
)


def llama3(start: str = "<|begin_of_text|>") -> str:
    head = "<|start_header_id|>{}<|end_header_id|>\n\n"
    around = {role: (head.format(role), "<|eot_id|>") for role in ("user", "system", "assistant")}
    return chat(
        around["user"],
        around["assistant"],
        start=start,
        system=around["system"],
        content="(m.content | trim)",
    )


LLAMA3_DATE = llama3().replace(
    '{{ "<|begin_of_text|>" }}',
    "{{ '<|begin_of_text|>' }}{% if strftime_now is defined %}"
    "{% set today = strftime_now('%d %b %Y') %}{% else %}{% set today = '26 Jul 2024' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' }}"
    "{{ today + '\\n\\n<|eot_id|>' }}",
)
GEMMA = (
    ("<start_of_turn>user\n", "<end_of_turn>\n"),
    ("<start_of_turn>model\n", "<end_of_turn>\n"),
)
GEMMA2 = chat(*GEMMA, start="<bos>", content="(m.content | trim)")
GEMMA3 = GEMMA2.replace(
    "{% for m in messages %}",
    "{% set system = messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\\n\\n' if system else '' %}"
    "{% for m in messages[1 if system else 0:] %}",
).replace(
    '{{ "<start_of_turn>user\\n" +', '{{ "<start_of_turn>user\\n" + (first if loop.first else "") +'
)
