"""Tokenizers of model folders: they encode as written, and end answers where training does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import transformers
from tokenizers import Tokenizer
from tokenizers.trainers import BpeTrainer

from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import ModelError
from sft_tradeoff.models.tokenizer import load_tokenizer
from tests.unit.models.conftest import SAFETENSORS, edit


def test_no_chat_template(copied: Path, tmp_path: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"into 'chat_template' in the entry of the model 'mine'"):
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()

    template = "{% for m in messages %}<{{ m['content'] }}>{% endfor %}"
    spec = SAFETENSORS.model_copy(update={"chat_template": template})
    build_model("mine", spec, copied, tmp_path / "mine")
    tokenizer = load_tokenizer(tmp_path / "mine")
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False) == "<a>"
    )
    assert not (copied / "chat_template.jinja").exists()


def test_end_of_sequence_pads_where_nothing_else_does(copied: Path) -> None:
    config = json.loads((copied / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (copied / "tokenizer_config.json").write_text(json.dumps(config | {"padding_side": "left"}))
    tokenizer = load_tokenizer(copied)
    assert tokenizer.pad_token == "</s>"
    assert tokenizer.padding_side == "left"


def test_no_end_of_sequence_token(copied: Path) -> None:
    edit(copied / "tokenizer_config.json", eos_token=None)
    with pytest.raises(ModelError, match="add 'eos_token'"):
        load_tokenizer(copied)


def test_tokens_are_those_that_the_file_says(copied: Path) -> None:
    """For Qwen2, Transformers takes only the vocabulary and splits digits."""
    backend = Tokenizer.from_file(str(copied / "tokenizer.json"))
    trainer = BpeTrainer(vocab_size=300, show_progress=False)
    backend.train_from_iterator(["in 12345 we say 12345 words"] * 9, trainer)
    backend.add_special_tokens(["<s>", "</s>", "<pad>"])
    backend.save(str(copied / "tokenizer.json"))
    edit(copied / "config.json", model_type="qwen2", architectures=["Qwen2ForCausalLM"])
    stock = transformers.AutoTokenizer.from_pretrained(copied)
    text = "in 12345 words"
    expected = backend.encode(text).ids
    assert stock(text)["input_ids"] != expected
    assert load_tokenizer(copied)(text, add_special_tokens=False)["input_ids"] == expected


@pytest.mark.parametrize("changes", [{"pad_token": "[PAD]"}, {"eos_token": "<|end|>"}])
def test_a_token_without_a_row_is_named(
    copied: Path, tmp_path: Path, changes: dict[str, str]
) -> None:
    edit(copied / "tokenizer_config.json", **changes)
    (token,) = changes.values()
    with pytest.raises(
        ModelError, match=rf"embeddings for 259 tokens, but '{re.escape(token)}' has"
    ):
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")


def test_a_token_that_no_chat_has_needs_no_row(copied: Path, tmp_path: Path) -> None:
    """Gemma 3 1B's tokenizer has the image's, its weights do not."""
    edit(copied / "tokenizer_config.json", additional_special_tokens=["<image>"])
    build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    assert len(load_tokenizer(tmp_path / "mine")) == 260


def test_a_class_that_cannot_read_the_file_is_not_used(copied: Path) -> None:
    """Gemma's asks for <unk>, which bytes do not need."""
    expected = load_tokenizer(copied)("häh?")["input_ids"]
    edit(copied / "tokenizer_config.json", tokenizer_class="GemmaTokenizer")
    assert load_tokenizer(copied)("häh?")["input_ids"] == expected
    edit(copied / "tokenizer_config.json", tokenizer_class="XGLMTokenizer")
    with pytest.raises(ModelError, match=r"cannot load its tokenizer: .*; copy or save its files"):
        load_tokenizer(copied)


def test_only_sentencepiece_names_both_packages(copied: Path) -> None:
    """Transformers asks for tiktoken, which cannot read the file."""
    (copied / "tokenizer.json").unlink()
    (copied / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    edit(copied / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    with pytest.raises(ModelError, match="pip install sentencepiece protobuf"):
        load_tokenizer(copied)


def test_a_deleted_folder_is_a_file_that_is_not_found(tmp_path):
    """Not the name of a repository, for which Transformers takes the path."""
    with pytest.raises(FileNotFoundError, match="gone"):
        load_tokenizer(tmp_path / "gone")
