"""Model folders: built whole or not at all, and refused with a reason."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.trainers import BpeTrainer

from sft_tradeoff.models import build as models
from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import ModelError, count_parameters, staged_folder
from sft_tradeoff.models.load import load_model, save_model, without_dropout
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.system.files import sha256_of

SAFETENSORS = ModelSpec(asset="mine", format="safetensors")
RANDOM = ModelSpec(format="random")


@pytest.fixture
def copied(random_model: Path, tmp_path: Path) -> Path:
    """A model folder as a user's own, which a test may change."""
    ours = shutil.ignore_patterns("*MODEL.json*")
    return Path(shutil.copytree(random_model, tmp_path / "source", ignore=ours))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


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


def test_record_identifies_the_weights(random_model: Path) -> None:
    record = json.loads((random_model / "MODEL.json").read_text())
    assert record["sha256"] == sha256_of(random_model / "model.safetensors")
    assert record["weights"] == {"model.safetensors": record["sha256"]}
    assert record["n_parameters"] == count_parameters(random_model)
    assert record["built_from"]["format"] == "random"
    assert {"torch", "transformers"} <= set(record["versions"])
    assert str(random_model.parent) not in json.dumps(record)


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


def test_safetensors_folder_is_linked_not_copied(copied: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "mine"
    build_model("mine", SAFETENSORS, copied, out, {"name": "mine", "licence": "MIT", "files": {}})
    assert os.path.samefile(out / "model.safetensors", copied / "model.safetensors")
    assert not os.path.samefile(out / "tokenizer_config.json", copied / "tokenizer_config.json")
    record = json.loads((out / "MODEL.json").read_text())
    assert (record["name"], record["licence"]) == ("mine", "MIT")
    assert record["built_from"]["asset"] == {"name": "mine", "licence": "MIT"}
    assert load_model(out, torch.float32).config.hidden_size == 64
    assert os.listdir(out.parent) in (["mine", "mine.lock"], ["mine.lock", "mine"])


def test_links_across_file_systems(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    assert (tmp_path / "mine" / "model.safetensors").is_symlink()
    assert load_model(tmp_path / "mine", torch.float32).config.hidden_size == 64


def test_sharded_weights(copied: Path, tmp_path: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({n: tensors[n] for n in part}, copied / shard, metadata={"format": "pt"})
    (copied / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {n: s for s, part in shards.items() for n in part}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    record = json.loads((tmp_path / "mine" / "MODEL.json").read_text())
    assert sorted(record["weights"]) == sorted(shards)
    assert record["n_parameters"] == sum(t.numel() for t in tensors.values())
    loaded = load_model(tmp_path / "mine", torch.float32).state_dict()
    assert all(torch.equal(loaded[n], tensors[n]) for n in names)

    (copied / "model-2.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-2\.safetensors is missing"):
        build_model("mine", SAFETENSORS, copied, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_truncated_weights_name_the_file(copied: Path, tmp_path: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"source/model\.safetensors is damaged or truncated"):
        load_model(copied, torch.float32)
    with pytest.raises(ModelError, match="is damaged or truncated"):
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    assert sorted(os.listdir(tmp_path)) == ["mine.lock", "source"]


def test_pickled_weights_are_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled \(pytorch_model\.bin\).*only safetensors"):
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    with pytest.raises(ModelError, match="only safetensors"):
        load_model(copied, torch.float32)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_missing_file_is_named(copied: Path, tmp_path: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_no_chat_template(copied: Path, tmp_path: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"set 'chat_template' \(Jinja\) in the model's catalogue"):
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
    """Transformers takes the vocabulary alone for Qwen2, and cuts digits apart."""
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
    with pytest.raises(ModelError, match="cannot load its tokenizer"):
        load_tokenizer(copied)


def test_only_sentencepiece_names_both_packages(copied: Path) -> None:
    """Transformers asks for tiktoken, which cannot read the file."""
    (copied / "tokenizer.json").unlink()
    (copied / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    edit(copied / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    with pytest.raises(ModelError, match="pip install sentencepiece protobuf"):
        load_tokenizer(copied)


def test_code_in_the_folder_never_runs(copied: Path) -> None:
    edit(copied / "config.json", model_type="own", auto_map={"AutoConfig": "evil.Config"})
    (copied / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="Transformers cannot load this model"):
        load_model(copied, torch.float32)


def test_missing_gguf_lists_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "asset" / "sub").mkdir(parents=True)
    (tmp_path / "asset" / "sub" / "a.gguf").touch()
    spec = ModelSpec(asset="mine", format="gguf", file="b.gguf")
    with pytest.raises(ModelError, match=r"not found: \S+b\.gguf; .*\['sub/a\.gguf'\]"):
        build_model("mine", spec, tmp_path / "asset", tmp_path / "mine")


def test_damaged_gguf(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(60))
    spec = ModelSpec(asset="mine", format="gguf", file="a.gguf")
    with pytest.raises(ModelError, match=r"a\.gguf cannot be read as a GGUF model"):
        build_model("mine", spec, tmp_path, tmp_path / "mine")


def test_stale_content_is_replaced_and_a_finished_build_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m"
    out.mkdir()
    (out / "stale.json").write_text("{}")
    (tmp_path / ".m-killed").mkdir()
    built: list[str] = []
    build = models._BUILDERS["random"]

    def counted(spec: ModelSpec, source: Path | None, folder: Path) -> None:
        built.append("once")
        build(spec, source, folder)

    monkeypatch.setitem(models._BUILDERS, "random", counted)
    build_model("m", RANDOM, None, out)
    assert not (out / "stale.json").exists()
    assert not (tmp_path / ".m-killed").exists()
    build_model("m", RANDOM, None, out)
    assert len(built) == 1  # as by another clone, meanwhile
    (out / "MODEL.json").unlink()  # Snakemake removes declared outputs before a job
    build_model("m", RANDOM, None, out)
    changed = RANDOM.model_copy(
        update={"chat_template": "{% for m in messages %}<{{ m.content }}>{% endfor %}"}
    )
    build_model("m", changed, None, out)
    assert len(built) == 3


def test_saved_model_keeps_the_masters_exactly(random_model: Path, tmp_path: Path) -> None:
    model = load_model(random_model, torch.float32)
    masters = {n: p.detach() + 1e-6 for n, p in model.named_parameters()}
    model.to(torch.bfloat16)
    save_model(model, masters, random_model, tmp_path / "run" / "final")
    loaded = load_model(tmp_path / "run" / "final", torch.float32)
    assert all(torch.equal(p, masters[n]) for n, p in loaded.named_parameters())
    assert load_tokenizer(tmp_path / "run" / "final").chat_template
    config = json.loads((tmp_path / "run" / "final" / "config.json").read_text())
    assert config["dtype"] == "float32"
    vouched = json.loads((tmp_path / "run" / "final" / "MODEL.json").read_text())
    assert vouched["sha256"] == sha256_of(tmp_path / "run" / "final" / "model.safetensors")


def test_other_users_of_a_shared_cache_can_read(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        build_model("m", RANDOM, None, tmp_path / "m")
    finally:
        os.umask(umask)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "m").iterdir()}
    assert set(modes.values()) == {0o644}, modes
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(
    random_model: Path, copied: Path, tmp_path: Path, value: float
) -> None:
    model = load_model(random_model, torch.float32)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    name = next(reversed(weights))
    weights[name].view(-1)[-1] = value
    with pytest.raises(ModelError, match=f"'{name}' of the trained model holds NaN or infinity"):
        save_model(model, weights, random_model, tmp_path / "final")
    assert not (tmp_path / "final").exists()

    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"weight '{name}' holds NaN or infinity.* delete the f"):
        load_model(copied, torch.float32)


def test_largest_finite_weights_are_no_infinity(random_model: Path, tmp_path: Path) -> None:
    """Their sum is above the largest float32."""
    model = load_model(random_model, torch.float32)
    largest = torch.finfo(torch.float32).max
    weights = {n: torch.full_like(p, largest) for n, p in model.named_parameters()}
    save_model(model, weights, random_model, tmp_path / "final")
    load_model(tmp_path / "final", torch.float32)


def test_a_flipped_bit_is_refused(random_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(random_model, folder)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        ModelError, match=r"has changed since it was written; delete the folder \S+/model "
    ):
        load_model(folder, torch.float32)


def test_a_replaced_folder_is_never_half_there(tmp_path: Path) -> None:
    """Killed at any rename: the old one whole, nothing, or the new one whole."""
    out, seen = tmp_path / "out", []
    for content in ("old", "new"):
        with staged_folder(out) as folder:
            (folder / "a").write_text(content)
            (folder / "b").write_text(content)
        seen.append({path.name: path.read_text() for path in out.iterdir()})
    assert seen == [{"a": "old", "b": "old"}, {"a": "new", "b": "new"}]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("tied", [True, False])
def test_the_language_model_of_one_that_also_sees(
    random_model: Path, tmp_path: Path, tied: bool
) -> None:
    """The same logits, without the eyes; the token that ends a turn stands in one file alone.

    The flag of the whole model counts; that of its text_config stays true.
    """
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        GenerationConfig,
        SiglipVisionConfig,
    )

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 259}
    sight = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=14,
        patch_size=7,
    )
    config = Gemma3Config(
        text_config=sizes | heads, vision_config=sight.to_dict(), tie_word_embeddings=tied
    )
    whole = Gemma3ForConditionalGeneration(config).eval()
    whole.generation_config = GenerationConfig(eos_token_id=[1, 106])
    whole.save_pretrained(tmp_path / "whole")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(random_model / name, tmp_path / "whole" / name)

    build_model("text", SAFETENSORS, tmp_path / "whole", tmp_path / "text")
    text = load_model(tmp_path / "text", torch.float32).eval()
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(text(ids).logits, whole(ids).logits)
    assert text.generation_config.eos_token_id == [257, 1, 106]  # and its template's end of turn
    assert not any("vision" in name for name, _ in text.named_parameters())


def test_a_router_without_jitter_agrees_with_itself() -> None:
    """Mixtral's multiplies its inputs by random numbers in training."""
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    config = transformers.MixtralConfig(**sizes, **heads, router_jitter_noise=0.5)
    model = transformers.AutoModelForCausalLM.from_config(config).train()
    ids = torch.arange(1, 9)[None]
    assert not torch.equal(model(ids).logits, model(ids).logits)
    model = without_dropout(model)
    assert torch.equal(model(ids).logits, model(ids).logits)
