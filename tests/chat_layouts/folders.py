"""Write a tiny model of a layout, in the form of a folder from the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.chat_layouts.layout import Layout
from tests.chat_layouts.layouts import LAYOUTS

BY_FAMILY = {layout.family: layout for layout in LAYOUTS}


def templated(template: str) -> Any:
    """The tokenizer of bytes with another chat template."""
    from sft_tradeoff.models.random_weights import byte_tokenizer

    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def layout_tokenizer(family: str, folder: Path) -> Any:
    """The tokenizer of a layout, as models are loaded."""
    from sft_tradeoff.models.tokenizer import load_tokenizer

    layout = BY_FAMILY[family]
    folder.mkdir(exist_ok=True)
    write_tokenizer(layout, folder)
    return load_tokenizer(folder, layout.variables)


def byte_level(layout: Layout) -> Tokenizer:
    """A tokenizer whose tokens are the 256 bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def sentencepiece(layout: Layout) -> Tokenizer:
    """A tokenizer of words that start with ▁, and of bytes for the rest, like Llama 2's."""
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
    """Write a tiny untrained model of this layout, in the form of a folder from the hub."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    backend = write_tokenizer(layout, folder)
    config = LlamaConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=backend.token_to_id(layout.eos),
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    if layout.ends is not None:
        ends = [backend.token_to_id(end) for end in layout.ends]
        GenerationConfig(eos_token_id=ends).save_pretrained(folder)
