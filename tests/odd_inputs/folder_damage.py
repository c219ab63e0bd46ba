"""Damage that model folders suffer, and what each must lead to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.odd_inputs.outcome import Expected

CONFIG, TOKENIZER, SETTINGS = "config.json", "tokenizer.json", "tokenizer_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TEMPLATE = "chat_template.jinja"
Damage = Callable[[Path], object]  # may return the path to give instead


def _settings(name: str, **changes: Any) -> Damage:
    """Change keys of a JSON file; those that are None are removed."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | changes
        kept = {key: value for key, value in content.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return damage


def _file(name: str, content: str | bytes) -> Damage:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def _gone(*names: str) -> Damage:
    return lambda folder: [(folder / name).unlink(missing_ok=True) for name in names]


def _cut(name: str, part: float) -> Damage:
    return lambda folder: os.truncate(folder / name, int((folder / name).stat().st_size * part))


def _instead(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return damage


def _tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Damage:
    """Change the stored tensors."""

    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = {k: v.contiguous() for k, v in change(load_file(folder / WEIGHTS)).items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def _renamed(prefix: str) -> Damage:
    return _tensors(lambda tensors: {f"{prefix}{name}": t for name, t in tensors.items()})


def _but_last(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: tensors[name] for name in list(tensors)[:-1]}


def _first(change: Callable[[Any], Any]) -> Damage:
    """Change the first matrix."""

    def first(tensors: dict[str, Any]) -> dict[str, Any]:
        name = next(name for name, tensor in tensors.items() if tensor.ndim == 2)
        return tensors | {name: change(tensors[name])}

    return _tensors(first)


def _sharded(folder: Path) -> None:
    """Two files with an index, as of large models."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    weight_map: dict[str, str] = {}
    for n in range(2):
        file = f"model-0000{n + 1}-of-00002.safetensors"
        some = {name: tensors[name] for name in list(tensors)[n::2]}
        save_file(some, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(some, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def _after(*steps: Damage) -> Damage:
    return lambda folder: [step(folder) for step in steps]


def _pickled(folder: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(2)}, folder / "pytorch_model.bin")


def _cache_root(folder: Path, given: str) -> Path:
    """The folder as in the hub's cache: files are links into ``blobs``."""
    root = folder.with_name("models--someone--tiny")
    snapshot, blobs = root / "snapshots" / "1a2b3c", root / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for n, path in enumerate(sorted(folder.iterdir())):
        path.rename(blobs / f"blob{n}")
        (snapshot / path.name).symlink_to(f"../../blobs/blob{n}")
    return root / given


def _moved(name: str) -> Damage:
    return lambda folder: folder.rename(folder.with_name(name))


def _linked(folder: Path) -> Path:
    link = folder.with_name("link")
    link.symlink_to(folder)
    return link


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _outside(name: str) -> Damage:
    """A file that is a link out of the folder."""

    def damage(folder: Path) -> None:
        (folder / name).rename(folder.with_name("elsewhere"))
        (folder / name).symlink_to("../elsewhere")

    return damage


def _quantized(method: str, **other: Any) -> Damage:
    return _settings(CONFIG, quantization_config={"quant_method": method, **other})


def _template(text: str) -> Damage:
    return _file(TEMPLATE, text)


TURNS = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}"
ADAPTER = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "someone/base", "r": 8})
REFUSED: dict[str, Damage] = {
    "weights missing": _gone(WEIGHTS),
    "weights empty": _file(WEIGHTS, b""),
    "weights cut": _cut(WEIGHTS, 0.7),
    "weights' header cut": _cut(WEIGHTS, 0.01),
    "weights are text": _file(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
    "weights are a folder": _instead(WEIGHTS, Path.mkdir),
    "weights are a FIFO": _instead(WEIGHTS, os.mkfifo),
    "weights are a dangling link": _instead(WEIGHTS, lambda p: p.symlink_to("no")),
    "weights link to themselves": _instead(WEIGHTS, lambda p: p.symlink_to(p.name)),
    "tensor missing": _tensors(_but_last),
    "no tensors": _tensors(lambda t: {}),
    "tensor too many": _tensors(lambda t: t | {"extra.weight": t[next(iter(t))].clone()}),
    "torch.compile": _renamed("_orig_mod."),
    "DataParallel": _renamed("module."),
    "PEFT": _renamed("base_model.model."),
    "another prefix": _renamed("x."),
    "row missing": _first(lambda t: t[:-1]),
    "shard missing": _after(_sharded, _gone("model-00002-of-00002.safetensors")),
    "shard cut": _after(_sharded, _cut("model-00001-of-00002.safetensors", 0.5)),
    "index without map": _after(_sharded, _file(INDEX, "{}")),
    "index is a list": _after(_sharded, _file(INDEX, "[]")),
    "index is not JSON": _after(_sharded, _cut(INDEX, 0.5)),
    "index names numbers": _after(_sharded, _file(INDEX, '{"weight_map": {"a": 1}}')),
    "index leads out": _after(_sharded, _file(INDEX, '{"weight_map": {"a": "../x.safetensors"}}')),
    "pickles alone": _after(_gone(WEIGHTS), _pickled),
    "GGUF alone": _after(_gone(WEIGHTS), _file("model.gguf", b"GGUF\x03\0\0\0")),
    "config missing": _gone(CONFIG),
    "config empty": _file(CONFIG, ""),
    "config cut": _cut(CONFIG, 0.5),
    "config is a list": _file(CONFIG, "[]"),
    "config is null": _file(CONFIG, "null"),
    "config is Latin-1": _file(CONFIG, b'{"model_type": "\xe9"}'),
    "config is a FIFO": _instead(CONFIG, os.mkfifo),
    "config is a folder": _instead(CONFIG, Path.mkdir),
    "model type unknown": _settings(CONFIG, model_type="nonesuch"),
    "model type missing": _settings(CONFIG, model_type=None, architectures=None),
    "model type is another": _settings(CONFIG, model_type="gpt2"),
    "model type is a number": _settings(CONFIG, model_type=1),
    "heads do not divide": _settings(CONFIG, num_attention_heads=5),
    "no heads": _settings(CONFIG, num_attention_heads=0),
    "negative size": _settings(CONFIG, hidden_size=-32),
    "size is text": _settings(CONFIG, hidden_size="32"),
    "size is another": _settings(CONFIG, hidden_size=64),
    "layers too many": _settings(CONFIG, num_hidden_layers=4),
    "layers too few": _settings(CONFIG, num_hidden_layers=1),
    "vocabulary too small": _settings(CONFIG, vocab_size=100),
    "vocabulary too large": _settings(CONFIG, vocab_size=999),
    "activation unknown": _settings(CONFIG, hidden_act="nonesuch"),
    "text_config is text": _settings(CONFIG, text_config="x"),
    "GPTQ": _quantized("gptq", bits=4),
    "AWQ": _quantized("awq", bits=4),
    "bitsandbytes": _quantized("bitsandbytes", load_in_4bit=True),
    "FP8": _quantized("fp8"),
    "quantized, a list": _settings(CONFIG, quantization_config=["x"]),
    "no tokenizer": _gone(TOKENIZER, SETTINGS, TEMPLATE),
    "tokenizer.json missing": _gone(TOKENIZER),
    "tokenizer.json cut": _cut(TOKENIZER, 0.5),
    "tokenizer.json empty": _file(TOKENIZER, ""),
    "tokenizer.json is a list": _file(TOKENIZER, "[]"),
    "tokenizer_config.json cut": _cut(SETTINGS, 0.5),
    "tokenizer_config.json is a list": _file(SETTINGS, "[]"),
    "SentencePiece alone": _after(_gone(TOKENIZER), _file("tokenizer.model", b"\n\x0e\n\x05<unk>")),
    "no end token": _settings(SETTINGS, eos_token=None),
    "no template": _gone(TEMPLATE),
    "template empty": _template(""),
    "template without messages": _template("Hello"),
    "template without the answer": _template(TURNS.replace("m['content']", "'x'") + "{% endfor %}"),
    "template with a wrong syntax": _template("{% for m in messages %}"),
    "template with an unknown name": _template("{{ nonesuch.attribute }}"),
    "template that raises": _template("{{ raise_exception('no') }}"),
    "template with an unknown filter": _template("{{ messages | nonesuch }}"),
    "template that divides by zero": _template("{{ 1 / 0 }}"),
    "template in Latin-1": _file(TEMPLATE, b"\xe9{{ messages }}"),
    "adapter alone": _after(
        _file("adapter_config.json", ADAPTER),
        lambda f: (f / WEIGHTS).rename(f / "adapter_model.safetensors"),
        _gone(CONFIG),
    ),
    "cache of the hub": lambda f: _cache_root(f, ""),
    "folder around it": lambda f: f.parent,
    "file": lambda f: f / WEIGHTS,
    "missing": lambda f: f / "no" / "such",
    "empty": _emptied,
    "generation settings cut": _file("generation_config.json", '{"eos'),
}
ACCEPTED: dict[str, Damage] = {
    "float16": _tensors(lambda t: {k: v.half() for k, v in t.items()}),
    "bfloat16": _tensors(lambda t: {k: v.bfloat16() for k, v in t.items()}),
    "shards": _sharded,
    "index beside whole weights": _file(INDEX, '{"weight_map": {"a": "b.safetensors"}}'),
    "pickles too": _pickled,
    "no architectures": _settings(CONFIG, architectures=None),
    "unknown keys": _settings(CONFIG, _name_or_path="/x", foo={"a": [1]}),
    "small window": _settings(CONFIG, max_position_embeddings=128),
    "template in brackets": _template(TURNS + "{{ eos_token }}{% endfor %}"),
    "adapter settings too": _file("adapter_config.json", ADAPTER),
    "snapshot in the hub's cache": lambda f: _cache_root(f, "snapshots/1a2b3c"),
    "link to the folder": _linked,
    "name with blanks": _moved("my  model"),
    "name with letters": _moved("модель é"),
    "name with quotes": _moved('it\'s $x "q" #1'),
    "name without letters": _moved("模型"),
    "other files": _after(_file("README.md", "x"), _file("a.py", "raise"), _file("b.json", "[")),
    "folder within": _instead("original", Path.mkdir),
}
EITHER: dict[str, Damage] = {
    "weights are elsewhere": _outside(WEIGHTS),
    "float64": _tensors(lambda t: {k: v.double() for k, v in t.items()}),
    "integers": _tensors(lambda t: {k: v.char() for k, v in t.items()}),
    "NaN": _first(lambda t: t * float("nan")),
    "config is elsewhere": _outside(CONFIG),
    "remote code": _settings(CONFIG, auto_map={"AutoModelForCausalLM": "m.M"}),
    "type unknown": _settings(CONFIG, dtype="float31"),
    "text_config is empty": _settings(CONFIG, text_config={}),
    "tokenizer_config.json missing": _gone(SETTINGS),
    "tokenizer class unknown": _settings(SETTINGS, tokenizer_class="Nonesuch"),
    "end token unknown": _settings(SETTINGS, eos_token="<nonesuch>"),
    "template with a date": _template("{{ strftime_now('%d %b %Y') }}" + TURNS + "{% endfor %}"),
    "FIFO among the files": _instead("x.json", os.mkfifo),
    "link among the files": _instead("x.json", lambda p: p.symlink_to("/etc/hostname")),
    "link to itself among the files": _instead("x.json", lambda p: p.symlink_to(p.name)),
    "generation settings odd": _file("generation_config.json", '{"eos_token_id": "x"}'),
}
DAMAGE: dict[str, tuple[Damage, Expected]] = {
    **{name: (damage, "refused") for name, damage in REFUSED.items()},
    **{name: (damage, "accepted") for name, damage in ACCEPTED.items()},
    **{name: (damage, None) for name, damage in EITHER.items()},
}
