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
WEIGHTS, INDEX, TEMPLATE = (
    "model.safetensors",
    "model.safetensors.index.json",
    "chat_template.jinja",
)
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
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return damage


def _cut(name: str, part: float) -> Damage:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * part)])

    return damage


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
DAMAGE: dict[str, tuple[Damage, Expected]] = {
    "weights missing": (_gone(WEIGHTS), "refused"),
    "weights empty": (_file(WEIGHTS, b""), "refused"),
    "weights cut": (_cut(WEIGHTS, 0.7), "refused"),
    "weights' header cut": (_cut(WEIGHTS, 0.01), "refused"),
    "weights are text": (_file(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"), "refused"),
    "weights are a folder": (_instead(WEIGHTS, Path.mkdir), "refused"),
    "weights are a FIFO": (_instead(WEIGHTS, os.mkfifo), "refused"),
    "weights are a dangling link": (_instead(WEIGHTS, lambda p: p.symlink_to("no")), "refused"),
    "weights link to themselves": (_instead(WEIGHTS, lambda p: p.symlink_to(p.name)), "refused"),
    "weights are elsewhere": (_outside(WEIGHTS), None),
    "tensor missing": (_tensors(_but_last), "refused"),
    "no tensors": (_tensors(lambda t: {}), "refused"),
    "tensor too many": (
        _tensors(lambda t: t | {"extra.weight": t[next(iter(t))].clone()}),
        "refused",
    ),
    "torch.compile": (_renamed("_orig_mod."), "refused"),
    "DataParallel": (_renamed("module."), "refused"),
    "PEFT": (_renamed("base_model.model."), "refused"),
    "another prefix": (_renamed("x."), "refused"),
    "row missing": (_first(lambda t: t[:-1]), "refused"),
    "float16": (_tensors(lambda t: {k: v.half() for k, v in t.items()}), "accepted"),
    "bfloat16": (_tensors(lambda t: {k: v.bfloat16() for k, v in t.items()}), "accepted"),
    "float64": (_tensors(lambda t: {k: v.double() for k, v in t.items()}), None),
    "integers": (_tensors(lambda t: {k: v.char() for k, v in t.items()}), None),
    "NaN": (_first(lambda t: t * float("nan")), None),
    "shards": (_sharded, "accepted"),
    "shard missing": (_after(_sharded, _gone("model-00002-of-00002.safetensors")), "refused"),
    "shard cut": (_after(_sharded, _cut("model-00001-of-00002.safetensors", 0.5)), "refused"),
    "index without map": (_after(_sharded, _file(INDEX, "{}")), "refused"),
    "index is a list": (_after(_sharded, _file(INDEX, "[]")), "refused"),
    "index is not JSON": (_after(_sharded, _cut(INDEX, 0.5)), "refused"),
    "index names numbers": (_after(_sharded, _file(INDEX, '{"weight_map": {"a": 1}}')), "refused"),
    "index leads out": (
        _after(_sharded, _file(INDEX, '{"weight_map": {"a": "../../x.safetensors"}}')),
        "refused",
    ),
    "index beside whole weights": (
        _file(INDEX, '{"weight_map": {"a": "b.safetensors"}}'),
        "accepted",
    ),
    "pickles alone": (_after(_gone(WEIGHTS), _pickled), "refused"),
    "pickles too": (_pickled, "accepted"),
    "GGUF alone": (_after(_gone(WEIGHTS), _file("model.gguf", b"GGUF\x03\0\0\0")), "refused"),
    "config missing": (_gone(CONFIG), "refused"),
    "config empty": (_file(CONFIG, ""), "refused"),
    "config cut": (_cut(CONFIG, 0.5), "refused"),
    "config is a list": (_file(CONFIG, "[]"), "refused"),
    "config is null": (_file(CONFIG, "null"), "refused"),
    "config is Latin-1": (_file(CONFIG, b'{"model_type": "\xe9"}'), "refused"),
    "config is a FIFO": (_instead(CONFIG, os.mkfifo), "refused"),
    "config is a folder": (_instead(CONFIG, Path.mkdir), "refused"),
    "config is elsewhere": (_outside(CONFIG), None),
    "model type unknown": (_settings(CONFIG, model_type="nonesuch"), "refused"),
    "model type missing": (_settings(CONFIG, model_type=None, architectures=None), "refused"),
    "model type is another": (_settings(CONFIG, model_type="gpt2"), "refused"),
    "model type is a number": (_settings(CONFIG, model_type=1), "refused"),
    "remote code": (_settings(CONFIG, auto_map={"AutoModelForCausalLM": "m.M"}), None),
    "no architectures": (_settings(CONFIG, architectures=None), "accepted"),
    "unknown keys": (_settings(CONFIG, _name_or_path="/x", foo={"a": [1]}), "accepted"),
    "heads do not divide": (_settings(CONFIG, num_attention_heads=5), "refused"),
    "no heads": (_settings(CONFIG, num_attention_heads=0), "refused"),
    "negative size": (_settings(CONFIG, hidden_size=-32), "refused"),
    "size is text": (_settings(CONFIG, hidden_size="32"), "refused"),
    "size is another": (_settings(CONFIG, hidden_size=64), "refused"),
    "layers too many": (_settings(CONFIG, num_hidden_layers=4), "refused"),
    "layers too few": (_settings(CONFIG, num_hidden_layers=1), "refused"),
    "vocabulary too small": (_settings(CONFIG, vocab_size=100), "refused"),
    "vocabulary too large": (_settings(CONFIG, vocab_size=999), "refused"),
    "small window": (_settings(CONFIG, max_position_embeddings=128), "accepted"),
    "type unknown": (_settings(CONFIG, dtype="float31"), None),
    "activation unknown": (_settings(CONFIG, hidden_act="nonesuch"), "refused"),
    "text_config is text": (_settings(CONFIG, text_config="x"), "refused"),
    "text_config is empty": (_settings(CONFIG, text_config={}), None),
    "GPTQ": (_quantized("gptq", bits=4), "refused"),
    "AWQ": (_quantized("awq", bits=4), "refused"),
    "bitsandbytes": (_quantized("bitsandbytes", load_in_4bit=True), "refused"),
    "FP8": (_quantized("fp8"), "refused"),
    "quantized, a list": (_settings(CONFIG, quantization_config=["x"]), "refused"),
    "no tokenizer": (_gone(TOKENIZER, SETTINGS, TEMPLATE), "refused"),
    "tokenizer.json missing": (_gone(TOKENIZER), "refused"),
    "tokenizer_config.json missing": (_gone(SETTINGS), None),
    "tokenizer.json cut": (_cut(TOKENIZER, 0.5), "refused"),
    "tokenizer.json empty": (_file(TOKENIZER, ""), "refused"),
    "tokenizer.json is a list": (_file(TOKENIZER, "[]"), "refused"),
    "tokenizer_config.json cut": (_cut(SETTINGS, 0.5), "refused"),
    "tokenizer_config.json is a list": (_file(SETTINGS, "[]"), "refused"),
    "tokenizer class unknown": (_settings(SETTINGS, tokenizer_class="Nonesuch"), None),
    "SentencePiece alone": (
        _after(_gone(TOKENIZER), _file("tokenizer.model", b"\n\x0e\n\x05<unk>")),
        "refused",
    ),
    "no end token": (_settings(SETTINGS, eos_token=None), "refused"),
    "end token unknown": (_settings(SETTINGS, eos_token="<nonesuch>"), None),
    "no template": (_gone(TEMPLATE), "refused"),
    "template empty": (_template(""), "refused"),
    "template without messages": (_template("Hello"), "refused"),
    "template without the answer": (
        _template(TURNS.replace("m['content']", "'x'") + "{% endfor %}"),
        "refused",
    ),
    "template with a wrong syntax": (_template("{% for m in messages %}"), "refused"),
    "template with an unknown name": (_template("{{ nonesuch.attribute }}"), "refused"),
    "template that raises": (_template("{{ raise_exception('no') }}"), "refused"),
    "template with an unknown filter": (_template("{{ messages | nonesuch }}"), "refused"),
    "template that divides by zero": (_template("{{ 1 / 0 }}"), "refused"),
    "template with a date": (
        _template("{{ strftime_now('%d %b %Y') }}" + TURNS + "{% endfor %}"),
        None,
    ),
    "template in brackets": (_template(TURNS + "{{ eos_token }}{% endfor %}"), "accepted"),
    "template in Latin-1": (_file(TEMPLATE, b"\xe9{{ messages }}"), "refused"),
    "adapter settings too": (_file("adapter_config.json", ADAPTER), "accepted"),
    "adapter alone": (
        _after(
            _file("adapter_config.json", ADAPTER),
            lambda f: (f / WEIGHTS).rename(f / "adapter_model.safetensors"),
            _gone(CONFIG),
        ),
        "refused",
    ),
    "cache of the hub": (lambda f: _cache_root(f, ""), "refused"),
    "snapshot in the hub's cache": (lambda f: _cache_root(f, "snapshots/1a2b3c"), "accepted"),
    "link to the folder": (_linked, "accepted"),
    "folder around it": (lambda f: f.parent, "refused"),
    "file": (lambda f: f / WEIGHTS, "refused"),
    "missing": (lambda f: f / "no" / "such", "refused"),
    "empty": (_emptied, "refused"),
    "name with blanks": (_moved("my  model"), "accepted"),
    "name with letters": (_moved("модель é"), "accepted"),
    "name with quotes": (_moved('it\'s $x "q" #1'), "accepted"),
    "name without letters": (_moved("模型"), "accepted"),
    "other files": (
        _after(_file("README.md", "x"), _file("a.py", "raise"), _file("b.json", "[")),
        "accepted",
    ),
    "folder within": (_instead("original", Path.mkdir), "accepted"),
    "FIFO among the files": (_instead("x.json", os.mkfifo), None),
    "link among the files": (_instead("x.json", lambda p: p.symlink_to("/etc/hostname")), None),
    "link to itself among the files": (_instead("x.json", lambda p: p.symlink_to(p.name)), None),
    "generation settings cut": (_file("generation_config.json", '{"eos'), "refused"),
    "generation settings odd": (_file("generation_config.json", '{"eos_token_id": "x"}'), None),
}
