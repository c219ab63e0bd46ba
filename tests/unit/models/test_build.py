"""Model folders: built completely or not at all, and refused with a reason."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sft_tradeoff.models import build as models
from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import ModelError, count_parameters, staged_folder
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.system.files import atomic_write_json, sha256_of
from tests.unit.models.conftest import RANDOM, SAFETENSORS, SIZES


def test_record_identifies_the_weights(random_model: Path) -> None:
    record = json.loads((random_model / "MODEL.json").read_text())
    assert record["sha256"] == sha256_of(random_model / "model.safetensors")
    assert record["weights"] == {"model.safetensors": record["sha256"]}
    assert record["n_parameters"] == count_parameters(random_model)
    assert record["built_from"]["format"] == "random"
    assert {"torch", "transformers"} <= set(record["versions"])
    assert str(random_model.parent) not in json.dumps(record)


def test_safetensors_folder_is_linked_not_copied(copied: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "mine"
    build_model("mine", SAFETENSORS, copied, out, {"name": "mine", "license": "MIT", "files": {}})
    assert os.path.samefile(out / "model.safetensors", copied / "model.safetensors")
    assert not os.path.samefile(out / "tokenizer_config.json", copied / "tokenizer_config.json")
    record = json.loads((out / "MODEL.json").read_text())
    assert (record["name"], record["license"]) == ("mine", "MIT")
    assert record["built_from"]["asset"] == {"name": "mine", "license": "MIT"}
    assert load_model(out, torch.float32).config.hidden_size == 64
    assert os.listdir(out.parent) in (["mine", "mine.lock"], ["mine.lock", "mine"])


def test_a_model_of_an_earlier_version_is_not_built_again(copied: Path, tmp_path: Path) -> None:
    """Its record has the key 'licence'."""
    out, asset = tmp_path / "mine", {"name": "mine", "license": "MIT", "files": {}}
    build_model("mine", SAFETENSORS, copied, out, asset)
    record = json.loads((out / "MODEL.json").read_text())
    record["built_from"]["asset"] = {"name": "mine", "licence": "MIT"}
    atomic_write_json(out / "MODEL.json", record, checksum=True)
    build_model("mine", SAFETENSORS, copied, out, asset)
    assert "licence" in (out / "MODEL.json").read_text()
    build_model("mine", SAFETENSORS, copied, out, asset | {"license": "other"})
    assert "licence" not in (out / "MODEL.json").read_text()


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
    (tmp_path / ".m-killed_1").mkdir()
    built: list[str] = []
    build = models._BUILDERS["random"]

    def counted(spec: ModelSpec, source: Path | None, folder: Path) -> None:
        built.append("once")
        build(spec, source, folder)

    monkeypatch.setitem(models._BUILDERS, "random", counted)
    build_model("m", RANDOM, None, out)
    assert not (out / "stale.json").exists()
    assert not (tmp_path / ".m-killed_1").exists()
    build_model("m", RANDOM, None, out)
    assert len(built) == 1  # as by another clone, meanwhile
    (out / "MODEL.json").unlink()  # Snakemake removes declared outputs before a job
    build_model("m", RANDOM, None, out)
    changed = RANDOM.model_copy(
        update={"chat_template": "{% for m in messages %}<{{ m.content }}>{% endfor %}"}
    )
    build_model("m", changed, None, out)
    assert len(built) == 3


def test_other_users_of_a_shared_cache_can_read(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        build_model("m", RANDOM, None, tmp_path / "m")
    finally:
        os.umask(umask)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "m").iterdir()}
    assert set(modes.values()) == {0o644}, modes
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o755


def test_a_replaced_folder_is_never_half_there(tmp_path: Path) -> None:
    """Killed at any rename: the complete old folder, none, or the complete new one."""
    out, seen = tmp_path / "out", []
    for content in ("old", "new"):
        with staged_folder(out) as folder:
            (folder / "a").write_text(content)
            (folder / "b").write_text(content)
        seen.append({path.name: path.read_text() for path in out.iterdir()})
    assert seen == [{"a": "old", "b": "old"}, {"a": "new", "b": "new"}]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_leftovers_are_removed_but_not_what_another_process_is_writing(tmp_path: Path) -> None:
    """A model with other template variables has the same name and a hash."""
    left = Path(tempfile.mkdtemp(dir=tmp_path, prefix=".net-"))
    with staged_folder(tmp_path / "net-1a2b3c4d") as other:
        with staged_folder(tmp_path / "net"):
            assert not left.exists()
        assert other.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net", "net-1a2b3c4d"]


@pytest.mark.parametrize("tied", [True, False])
def test_the_language_model_of_one_that_also_sees(
    random_model: Path, tmp_path: Path, tied: bool
) -> None:
    """The same logits without the vision part; only one file names the token that ends a turn.

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


def seeing(kind: str) -> Any:
    """A tiny model of the Llava family, or Qwen2-VL."""
    import transformers

    text = SIZES | {"vocab_size": 259, "max_position_embeddings": 64}
    sight = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "image_size": 14}
    sight |= {"num_attention_heads": 2, "patch_size": 7}
    if kind == "qwen2_vl":
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
        parts = {
            "text_config": text | {"rope_parameters": rope},
            "vision_config": {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2},
        }
    else:
        parts = {
            "text_config": transformers.LlamaConfig(**text),
            "vision_config": transformers.CLIPVisionConfig(**sight),
            "image_token_index": 5,
        }
    config = transformers.AutoConfig.for_model(kind, **parts)
    torch.manual_seed(0)
    return transformers.AutoModelForImageTextToText.from_config(config).eval()


def with_tokenizer(model: Any, random_model: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(random_model / name, folder / name)
    return folder


@pytest.mark.parametrize("kind", ["llava", "llava_next"])
def test_a_language_model_that_is_loaded_with_the_rest(
    kind: str, random_model: Path, tmp_path: Path
) -> None:
    """Transformers has no class of causal language models for these; the text part is one."""
    whole = seeing(kind)
    folder = with_tokenizer(whole, random_model, tmp_path / "whole")
    build_model("text", SAFETENSORS, folder, tmp_path / "text")
    text = load_model(tmp_path / "text", torch.float32).eval()
    assert type(text).__name__ == "LlamaForCausalLM"
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(text(ids).logits, whole(ids).logits)


def test_a_language_model_without_a_class_of_its_own(random_model: Path, tmp_path: Path) -> None:
    folder = with_tokenizer(seeing("qwen2_vl"), random_model, tmp_path / "whole")
    with pytest.raises(ModelError, match=r"no class for the language model of Qwen2VLFor.* alone"):
        build_model("text", SAFETENSORS, folder, tmp_path / "text")


def test_errors_name_the_users_folder(copied: Path, tmp_path: Path) -> None:
    """Not the one that is being written, which is gone when the user reads about it."""
    (copied / "chat_template.jinja").write_text("{{ nosuch.x }}")
    with pytest.raises(ModelError, match="UndefinedError") as caught:
        build_model("mine", SAFETENSORS, copied, tmp_path / "mine")
    assert str(caught.value).startswith(f"{copied}: ") and ".mine-" not in str(caught.value)
