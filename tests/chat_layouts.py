"""How families of chat models write a conversation, as tiny tokenizers and templates.

The marks, their flags and the ends named in the generation settings are those of the families' own
files; the templates are reduced to what they write.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "chat_layouts.md"


@dataclass(frozen=True)
class Layout:
    """One family × template.

    Args:
        family: Models that ship it.
        template: Jinja.
        learned: What is learned for the answer "ok", special tokens shown.
        eos: The tokenizer's end of sequence.
        marks: Added tokens flagged as special, beside eos.
        unflagged: Added tokens without that flag.
        ends: What the generation settings name; None: no such file.
        sentencepiece: Words begin with ▁, instead of a byte-level alphabet.
        strips: The marks take the white space behind them.
        bos: Beginning of sequence.
        variables: Values of the template's variables.
        note: For the table.
    """

    family: str
    template: str
    learned: str
    eos: str
    marks: tuple[str, ...] = ()
    unflagged: tuple[str, ...] = ()
    ends: tuple[str, ...] | None = ()
    sentencepiece: bool = False
    strips: bool = False
    bos: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def name(self) -> str:
        """For test ids."""
        return "".join(c if c.isalnum() else "-" for c in self.family.lower()).strip("-")


def chat(
    user: tuple[str, str],
    answer: tuple[str, str],
    *,
    start: str = "",
    system: tuple[str, str] | None = None,
    opening: str | None = None,
    end: str = "",
    content: str = "m.content",
) -> str:
    """Build a template.

    Args:
        user: Text around a user's turn.
        answer: Text around an assistant's turn.
        start: Text before all turns.
        system: Text around a system turn; None: such a turn is an error.
        opening: The generation prompt; None: the template has none, "" as well as the text before
            an answer where they are the same.
        end: Text behind a conversation that waits for no answer.
        content: Jinja expression of a turn's text.
    """

    def turn(around: tuple[str, str]) -> str:
        return f"{{{{ {json.dumps(around[0])} + {content} + {json.dumps(around[1])} }}}}"

    refuse = "{{ raise_exception('System role not supported') }}"
    opening = answer[0] if opening is None else opening
    return (
        f"{{{{ {json.dumps(start)} }}}}{{% for m in messages %}}"
        f"{{% if m.role == 'user' %}}{turn(user)}"
        f"{{% elif m.role == 'system' %}}{turn(system) if system else refuse}"
        f"{{% else %}}{turn(answer)}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {json.dumps(opening)} }}}}"
        f"{{% else %}}{{{{ {json.dumps(end)} }}}}{{% endif %}}"
    )


def chatml(opening: str | None = None, before: str = "") -> str:
    """``<|im_start|>role\\n...<|im_end|>\\n``."""
    user = ("<|im_start|>user\n", "<|im_end|>\n")
    system = ("<|im_start|>system\n", "<|im_end|>\n")
    answer = (f"<|im_start|>assistant\n{before}", "<|im_end|>\n")
    return chat(user, answer, system=system, opening=opening)


_ASSISTANT = "<|im_start|>assistant\n"
_EMPTY = "<think>\n\n</think>\n\n"
_QWEN3 = chatml("", _EMPTY).removesuffix('{{ "" }}{% else %}{{ "" }}{% endif %}') + (
    f"{{{{ {json.dumps(_ASSISTANT)} }}}}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    f"{{{{ {json.dumps(_EMPTY)} }}}}{{% endif %}}{{% endif %}}"
)


def _llama3(start: str = "<|begin_of_text|>") -> str:
    head = "<|start_header_id|>{}<|end_header_id|>\n\n"
    around = {role: (head.format(role), "<|eot_id|>") for role in ("user", "system", "assistant")}
    return chat(
        around["user"], around["assistant"], start=start, system=around["system"],
        content="(m.content | trim)",
    )  # fmt: skip


_LLAMA3_DATE = _llama3().replace(
    '{{ "<|begin_of_text|>" }}',
    "{{ '<|begin_of_text|>' }}{% if strftime_now is defined %}"
    "{% set today = strftime_now('%d %b %Y') %}{% else %}{% set today = '26 Jul 2024' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' }}"
    "{{ today + '\\n\\n<|eot_id|>' }}",
)
_GEMMA = (
    ("<start_of_turn>user\n", "<end_of_turn>\n"),
    ("<start_of_turn>model\n", "<end_of_turn>\n"),
)
_GEMMA2 = chat(*_GEMMA, start="<bos>", content="(m.content | trim)")
_GEMMA3 = _GEMMA2.replace(
    "{% for m in messages %}",
    "{% set system = messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\\n\\n' if system else '' %}"
    "{% for m in messages[1 if system else 0:] %}",
).replace(
    '{{ "<start_of_turn>user\\n" +', '{{ "<start_of_turn>user\\n" + (first if loop.first else "") +'
)
_L3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>")
_TURN = ("<start_of_turn>", "<end_of_turn>")
_IM = ("<|im_start|>", "<|im_end|>")
_INST = ("[INST] ", " [/INST]")

LAYOUTS = [
    Layout(
        "Qwen2.5 instruct, SmolLM2",
        chatml(),
        "ok<|im_end|>",
        "<|im_end|>",
        ("<|endoftext|>", "<|im_start|>"),
        ends=("<|im_end|>", "<|endoftext|>"),
    ),
    Layout(
        "Qwen2.5 base",
        chatml(),
        "ok<|im_end|>",
        "<|endoftext|>",
        _IM,
        ends=("<|endoftext|>",),
        note="its settings stop at the end of text only",
    ),
    Layout(
        "ChatML, no generation settings",
        chatml(),
        "ok<|im_end|>",
        "<|endoftext|>",
        _IM,
        ends=None,
        note="fine-tunes that ship none",
    ),
    Layout(
        "ChatML, marks without the special flag",
        chatml(),
        "ok<|im_end|>",
        "</s>",
        unflagged=_IM,
        ends=("</s>",),
    ),
    Layout(
        "ChatML as plain text on Llama 2 base",
        chatml(),
        "ok</s>",
        "</s>",
        bos="<s>",
        ends=("</s>",),
        sentencepiece=True,
        note="the template marks no end: EOS is learned",
    ),
    Layout(
        "ChatML without generation prompt",
        chatml(""),
        _ASSISTANT + "ok<|im_end|>",
        "<|im_end|>",
        ("<|endoftext|>", "<|im_start|>"),
        ends=("<|im_end|>",),
        note="the model opens its turn",
    ),
    Layout(
        "Qwen3, thinking",
        _QWEN3,
        _EMPTY + "ok<|im_end|>",
        "<|im_end|>",
        ("<|endoftext|>", "<|im_start|>"),
        ("<think>", "</think>"),
        ("<|im_end|>", "<|endoftext|>"),
        note="an empty block of thoughts is learned, what follows it is graded",
    ),
    Layout(
        "Qwen3, enable_thinking false",
        _QWEN3,
        "ok<|im_end|>",
        "<|im_end|>",
        ("<|endoftext|>", "<|im_start|>"),
        ("<think>", "</think>"),
        ("<|im_end|>", "<|endoftext|>"),
        variables={"enable_thinking": False},
    ),
    Layout(
        "Qwen3 Thinking 2507",
        chatml(_ASSISTANT + "<think>\n", _EMPTY),
        "\n</think>\n\nok<|im_end|>",
        "<|im_end|>",
        ("<|endoftext|>", "<|im_start|>"),
        ("<think>", "</think>"),
        ("<|im_end|>", "<|endoftext|>"),
        note="the prompt opens the thoughts",
    ),
    Layout(
        "Llama 2 chat",
        chat(
            _INST,
            (" ", " </s>"),
            start="<s>",
            opening="",
            system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
            content="(m.content | trim)",
        ),
        "ok </s>",
        "</s>",
        bos="<s>",
        ends=("</s>",),
        sentencepiece=True,
    ),
    Layout(
        "Llama 3 instruct",
        _llama3(),
        "ok<|eot_id|>",
        "<|eot_id|>",
        (*_L3[:3], "<|end_of_text|>"),
        ends=("<|end_of_text|>", "<|eot_id|>"),
        bos="<|begin_of_text|>",
    ),
    Layout(
        "Llama 3 base with the instruct template",
        _llama3(),
        "ok<|eot_id|>",
        "<|end_of_text|>",
        _L3,
        ends=("<|end_of_text|>",),
        bos="<|begin_of_text|>",
    ),
    Layout(
        "Llama 3.2 instruct",
        _LLAMA3_DATE,
        "ok<|eot_id|>",
        "<|eot_id|>",
        (*_L3[:3], "<|end_of_text|>"),
        ends=("<|end_of_text|>", "<|eot_id|>"),
        bos="<|begin_of_text|>",
        note="writes a fixed date",
    ),
    Layout(
        "Mistral 7B v0.1",
        chat(_INST, (" ", "</s>"), start="<s> ", opening=""),
        "ok</s>",
        "</s>",
        bos="<s>",
        ends=("</s>",),
        sentencepiece=True,
    ),
    Layout(
        "Mistral v3, Tekken",
        chat(
            ("[INST]", "[/INST]"),
            ("", "</s>"),
            start="<s>",
            system=("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        ),
        "ok</s>",
        "</s>",
        ("<s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        ends=("</s>",),
        bos="<s>",
    ),
    Layout(
        "Gemma 2",
        _GEMMA2,
        "ok<end_of_turn>",
        "<eos>",
        ("<pad>", "<bos>", *_TURN),
        ends=("<eos>", "<end_of_turn>"),
        bos="<bos>",
        note="a system turn goes into the user's",
    ),
    Layout(
        "Gemma 3",
        _GEMMA3,
        "ok<end_of_turn>",
        "<eos>",
        ("<pad>", "<bos>", *_TURN),
        ends=("<eos>",),
        bos="<bos>",
        note="the end of turn has no name in its tokenizer",
    ),
    Layout(
        "Phi-3",
        chat(
            ("<|user|>\n", "<|end|>\n"),
            ("<|assistant|>\n", "<|end|>\n"),
            system=("<|system|>\n", "<|end|>\n"),
            end="<|endoftext|>",
        ),
        "ok<|end|>",
        "<|endoftext|>",
        ("<|user|>", "<|end|>", "<|assistant|>", "<|system|>"),
        ends=("<|endoftext|>", "<|end|>"),
        sentencepiece=True,
        strips=True,
        bos="<s>",
    ),
    Layout(
        "Phi-4",
        chat(
            ("<|im_start|>user<|im_sep|>", "<|im_end|>"),
            ("<|im_start|>assistant<|im_sep|>", "<|im_end|>"),
            system=("<|im_start|>system<|im_sep|>", "<|im_end|>"),
        ),
        "ok<|im_end|>",
        "<|endoftext|>",
        (*_IM, "<|im_sep|>"),
        ends=("<|endoftext|>",),
    ),
    Layout(
        "Zephyr, TinyLlama",
        chat(
            ("<|user|>\n", "</s>\n"),
            ("<|assistant|>\n", "</s>\n"),
            system=("<|system|>\n", "</s>\n"),
        ),
        "ok</s>",
        "</s>",
        bos="<s>",
        ends=("</s>",),
        sentencepiece=True,
    ),
    Layout(
        "gpt-oss",
        chat(
            ("<|start|>user<|message|>", "<|end|>"),
            ("<|start|>assistant<|channel|>final<|message|>", "<|return|>"),
            system=("<|start|>developer<|message|>", "<|end|>"),
            opening="<|start|>assistant",
        ),
        "<|channel|>final<|message|>ok<|return|>",
        "<|return|>",
        ("<|start|>", "<|message|>", "<|end|>", "<|channel|>", "<|call|>", "<|endoftext|>"),
        ends=("<|return|>", "<|endoftext|>", "<|call|>"),
        note="the channel's header is learned, not graded",
    ),
    Layout(
        "GLM-4",
        chat(
            ("<|user|>\n", ""),
            ("<|assistant|>\n", ""),
            start="[gMASK]<sop>",
            system=("<|system|>\n", ""),
        ),
        "ok<|endoftext|>",
        "<|endoftext|>",
        ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>"),
        ends=("<|endoftext|>", "<|user|>"),
        note="the template marks no end: EOS is learned",
    ),
    Layout(
        "DeepSeek V3",
        chat(
            ("<｜User｜>", ""),
            ("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
            start="<｜begin▁of▁sentence｜>",
            system=("", ""),
        ),
        "ok<｜end▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        ("<｜begin▁of▁sentence｜>",),
        ("<｜User｜>", "<｜Assistant｜>"),
        ("<｜end▁of▁sentence｜>",),
        bos="<｜begin▁of▁sentence｜>",
    ),
    Layout(
        "Command R",
        chat(
            *[
                (f"<|START_OF_TURN_TOKEN|><|{role}_TOKEN|>", "<|END_OF_TURN_TOKEN|>")
                for role in ("USER", "CHATBOT")
            ],
            start="<BOS_TOKEN>",
            system=("<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        ),
        "ok<|END_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        (
            "<BOS_TOKEN>",
            "<|START_OF_TURN_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
        ),
        ends=("<|END_OF_TURN_TOKEN|>",),
        bos="<BOS_TOKEN>",
    ),
    Layout(
        "Granite 3",
        chat(
            *[
                (f"<|start_of_role|>{role}<|end_of_role|>", "<|end_of_text|>\n")
                for role in ("user", "assistant")
            ],
            system=("<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\n"),
        ),
        "ok<|end_of_text|>",
        "<|end_of_text|>",
        ("<|start_of_role|>", "<|end_of_role|>"),
        ends=("<|end_of_text|>",),
        bos="<|end_of_text|>",
    ),
    Layout(
        "OLMo 2",
        chat(
            ("<|user|>\n", "\n"),
            ("<|assistant|>\n", "<|endoftext|>"),
            start="<|endoftext|>",
            system=("<|system|>\n", "\n"),
        ),
        "ok<|endoftext|>",
        "<|endoftext|>",
        ends=("<|endoftext|>",),
        bos="<|endoftext|>",
        note="begins and ends with one token",
    ),
    Layout(
        "Falcon 3",
        chat(
            ("<|user|>\n", "\n"),
            ("<|assistant|>\n", "<|endoftext|>\n"),
            system=("<|system|>\n", "\n"),
        ),
        "ok<|endoftext|>",
        "<|endoftext|>",
        ("<|user|>", "<|assistant|>", "<|system|>"),
        ends=("<|endoftext|>",),
    ),
    Layout(
        "EXAONE 3.5",
        chat(
            ("[|user|]", "\n"),
            ("[|assistant|]", "[|endofturn|]\n"),
            system=("[|system|]", "[|endofturn|]\n"),
        ),
        "ok[|endofturn|]",
        "[|endofturn|]",
        ("[|user|]", "[|assistant|]", "[|system|]", "[BOS]"),
        ends=("[|endofturn|]",),
        bos="[BOS]",
    ),
    Layout(
        "InternLM 2",
        chatml().replace('{{ "" }}', '{{ "<s>" }}', 1),
        "ok<|im_end|>",
        "</s>",
        ("<s>", *_IM),
        ends=("</s>", "<|im_end|>"),
        bos="<s>",
    ),
    Layout(
        "Vicuna",
        chat(
            ("USER: ", " "),
            ("ASSISTANT: ", "</s>"),
            start="A chat. ",
            opening="ASSISTANT:",
            system=("", " "),
        ),
        "ok</s>",
        "</s>",
        bos="<s>",
        ends=("</s>",),
        sentencepiece=True,
    ),
    Layout(
        "Alpaca text",
        chat(
            ("### Instruction:\n", "\n\n"),
            ("### Response:\n", "</s>"),
            opening="",
            system=("", "\n\n"),
        ),
        "### Response:\nok</s>",
        "</s>",
        ends=("</s>",),
        note="no generation prompt: the header is learned, not graded",
    ),
]


def byte_level(layout: Layout) -> Tokenizer:
    """256 bytes as tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def sentencepiece(layout: Layout) -> Tokenizer:
    """Words that begin with ▁, with bytes for all else, as Llama 2's."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    unknown = ["<unk>", *(f"<0x{i:02X}>" for i in range(256))]
    backend.train_from_iterator(
        ["Say ok user assistant system USER ASSISTANT number 0 1 2 3"] * 20,
        trainers.BpeTrainer(
            vocab_size=330, special_tokens=unknown, initial_alphabet=["▁"], show_progress=False
        ),
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return backend


def write_tokenizer(layout: Layout, folder: Path) -> Tokenizer:
    """Write the tokenizer's files as the family ships them."""
    backend = (sentencepiece if layout.sentencepiece else byte_level)(layout)
    special = dict.fromkeys(filter(None, (layout.bos, *layout.marks, layout.eos)))
    for flag, texts in ((True, special), (False, layout.unflagged)):
        add = backend.add_special_tokens if flag else backend.add_tokens
        add([AddedToken(t, special=flag, normalized=False, rstrip=layout.strips) for t in texts])
    backend.save(str(folder / "tokenizer.json"))
    added = {
        str(i): {
            key: getattr(token, key)
            for key in ("content", "lstrip", "rstrip", "normalized", "single_word", "special")
        }
        for i, token in backend.get_added_tokens_decoder().items()
    }
    settings = {
        "added_tokens_decoder": added,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": layout.template,
        "eos_token": layout.eos,
        "bos_token": layout.bos,
        "pad_token": layout.eos,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return backend


def write_model(layout: Layout, folder: Path) -> None:
    """Write a tiny untrained model of this layout, as a folder of the hub looks."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    backend = write_tokenizer(layout, folder)
    config = LlamaConfig(
        vocab_size=backend.get_vocab_size(), hidden_size=48, intermediate_size=96,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=backend.token_to_id(layout.eos), pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    if layout.ends is not None:
        ends = [backend.token_to_id(end) for end in layout.ends]
        GenerationConfig(eos_token_id=ends).save_pretrained(folder)


def table() -> str:
    """What docs/chat_layouts.md lists."""
    lines = ["| family, template | learned for the answer `ok` | note |", "|---|---|---|"]
    for layout in LAYOUTS:
        # A pipe ends a cell of Markdown, even within code.
        learned = json.dumps(layout.learned, ensure_ascii=False)[1:-1].replace("|", r"\|")
        lines.append(f"| {layout.family} | `{learned}` | {layout.note} |")
    return "\n".join([*lines, ""])
