"""The random model and its tokenizer are always the same."""

from __future__ import annotations

from pathlib import Path

import torch

from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import count_parameters
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.system.files import sha256_of
from tests.unit.models.conftest import RANDOM


def test_random_model_is_the_same_every_time(random_model: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        state = torch.random.get_rng_state()
        build_model("again", RANDOM, None, tmp_path / "again")
        assert torch.equal(torch.random.get_rng_state(), state)
    assert sha256_of(tmp_path / "again" / "model.safetensors") == sha256_of(
        random_model / "model.safetensors"
    )


def test_random_model_has_the_stated_shape(random_model: Path) -> None:
    model = load_model(random_model, torch.bfloat16)
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (2, 64, 259)
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 2)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    # embedding, final norm; per layer q, k, v, o, gate, up, down and two norms
    layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128 + 2 * 64
    assert count_parameters(random_model) == 259 * 64 + 64 + 2 * layer


def test_every_byte_is_one_token() -> None:
    tokenizer = byte_tokenizer()
    text = "Größe:\t3 ≥ 2\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text.encode())
    assert max(ids) < 256
    assert tokenizer.decode(ids) == text
    assert tokenizer.convert_tokens_to_ids(["<s>", "</s>", "<pad>"]) == [256, 257, 258]


def test_random_chat_template(random_model: Path) -> None:
    tokenizer = load_tokenizer(random_model)
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    answer = {"role": "assistant", "content": "2"}
    head = "<s>[SYSTEM] Be brief. [/SYSTEM] [USER] 1+1? [/USER] "
    assert tokenizer.apply_chat_template(prompt, tokenize=False) == head
    assert tokenizer.apply_chat_template([*prompt, answer], tokenize=False) == head + "2</s>"
    assert tokenizer(head + "2</s>", add_special_tokens=False)["input_ids"][-1] == 257
