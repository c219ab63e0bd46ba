"""Merging θ0 with a run: exact, file by file, and complete or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from sft_tradeoff.models.folder import ModelError, describe_weights, weight_files
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.objectives.wise_ft import interpolate
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.system.files import atomic_write_json, checksum_path, sha256_of
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training import merge as merge_module
from sft_tradeoff.training.batching import collate
from sft_tradeoff.training.merge import MergeError, merge, merge_folders
from sft_tradeoff.training.token_loss import token_nll

MB = 1 << 20


def at(alpha: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda initial, trained: interpolate(initial, trained, alpha=alpha)


def save_sharded(random_model: Path, out: Path, shard_size: str, dtype: torch.dtype, step: float):
    """The random model, moved by ``step`` times normal noise, in shards of the given size."""
    model = load_model(random_model, torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += step * torch.randn(parameter.shape, generator=generator)
    shutil.copytree(random_model, out, ignore=shutil.ignore_patterns("*.safetensors", "MODEL.json"))
    model.to(dtype).save_pretrained(out, max_shard_size=shard_size)
    return out


@pytest.fixture
def base(random_model: Path, tmp_path: Path) -> Path:
    return save_sharded(random_model, tmp_path / "base", "80KB", torch.float32, 0.0)


@pytest.fixture
def trained(random_model: Path, tmp_path: Path) -> Path:
    return save_sharded(random_model, tmp_path / "trained", "120KB", torch.float32, 0.01)


def tensors(folder: Path) -> dict[str, Tensor]:
    return {n: t for path in weight_files(folder) for n, t in load_file(path).items()}


def bits(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int32)


def edit_first_shard(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    path = weight_files(folder)[0]
    content = load_file(path)
    change(content)
    save_file(content, path, metadata={"format": "pt"})


def test_hand_derived_average(tmp_path: Path) -> None:
    """0.75·[1, -2, 0.5] + 0.25·[3, 2, 0.5] = [1.5, -1, 0.5], exact in binary."""
    for name, values in {"base": [1.0, -2.0, 0.5], "run": [3.0, 2.0, 0.5]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        save_file({"w": torch.tensor(values)}, tmp_path / name / "model.safetensors")
    merge_folders(tmp_path / "base", tmp_path / "run", tmp_path / "out", at(0.25))
    assert tensors(tmp_path / "out")["w"].tolist() == [1.5, -1.0, 0.5]


def test_every_tensor_is_interpolated_whatever_the_shards(
    base: Path, trained: Path, tmp_path: Path
) -> None:
    assert len(weight_files(base)) != len(weight_files(trained)) > 1
    merge_folders(base, trained, tmp_path / "out", at(0.3))
    initial, final, merged = map(tensors, (base, trained, tmp_path / "out"))
    assert merged.keys() == final.keys()
    for name, tensor in merged.items():
        # lerp rounds up to three times, each by half a unit of 2^-24 of what it handles
        naive = 0.7 * initial[name].double() + 0.3 * final[name].double()
        scale = torch.maximum(initial[name].abs(), final[name].abs())
        assert ((tensor - naive).abs() <= 3 * 2**-24 * scale).all(), name
        assert torch.equal(bits(tensor), bits(initial[name].lerp(final[name], 0.3))), name
    for path in weight_files(trained):
        same, kept = safe_open(tmp_path / "out" / path.name, "pt"), safe_open(path, "pt")
        assert same.keys() == kept.keys()
        assert same.metadata() == {"format": "pt"}


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_ends_of_the_line_are_the_two_models(
    base: Path, trained: Path, tmp_path: Path, alpha: float
) -> None:
    merge_folders(base, trained, tmp_path / "out", at(alpha))
    expected = tensors(trained if alpha else base)
    merged = tensors(tmp_path / "out")
    assert merged.keys() == expected.keys()
    assert all(torch.equal(bits(merged[n]), bits(expected[n])) for n in merged)


def test_bfloat16_models_merge_in_float32(random_model: Path, tmp_path: Path) -> None:
    """The mean of two adjacent bfloat16 values is not a bfloat16: only float32 holds it."""
    base = save_sharded(random_model, tmp_path / "base", "60KB", torch.bfloat16, 0.0)
    trained = save_sharded(random_model, tmp_path / "trained", "50KB", torch.bfloat16, 0.01)
    out = tmp_path / "out"
    merge_folders(base, trained, out, at(0.5))
    initial, final, merged = map(tensors, (base, trained, out))
    for name in merged:
        mean = (initial[name].double() + final[name].double()) / 2
        torch.testing.assert_close(merged[name].double(), mean, rtol=0, atol=1e-7)
    assert {t.dtype for t in merged.values()} == {torch.float32}
    assert json.loads((trained / "config.json").read_text())["dtype"] == "bfloat16"
    assert json.loads((out / "config.json").read_text())["dtype"] == "float32"
    index = json.loads((out / "model.safetensors.index.json").read_text())
    before = json.loads((trained / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == before["weight_map"]
    assert index["metadata"]["total_size"] == 2 * before["metadata"]["total_size"]
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in merged.values())


def test_merged_folder_is_a_model_with_finite_losses(
    base: Path, trained: Path, tmp_path: Path, jsonl, examples
) -> None:
    atomic_write_json(
        trained / "MODEL.json", {}, checksum=True
    )  # holds checksums of the other files
    out = tmp_path / "run" / "final"
    merge_folders(base, trained, out, at(0.5))
    assert (
        json.loads((out / "MODEL.json").read_text())["weights"] == describe_weights(out)["weights"]
    )
    assert load_tokenizer(out).chat_template == load_tokenizer(trained).chat_template
    model = load_model(out, torch.float32)
    merged = tensors(out)
    assert all(torch.equal(p, merged[n]) for n, p in model.named_parameters())
    data = tokenize_file(byte_tokenizer(), jsonl(examples), 200)
    batch = collate(data, [0, 1, 2], 0, 0)
    losses = [token_nll(load_model(f, torch.float32), batch) for f in (base, out, trained)]
    assert all(loss.isfinite().all() for loss in losses)
    assert not torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[1], losses[2])


def test_what_only_theta0_stores_is_left_out(base: Path, trained: Path, tmp_path: Path) -> None:
    edit_first_shard(base, lambda t: t.update({"lm_head.weight": torch.zeros(259, 64)}))
    merge_folders(base, trained, tmp_path / "out", at(0.5))
    assert tensors(tmp_path / "out").keys() == tensors(trained).keys()


def test_missing_tensor_is_named(base: Path, trained: Path, tmp_path: Path) -> None:
    name = next(iter(load_file(weight_files(base)[0])))
    edit_first_shard(base, lambda t: t.pop(name))
    with pytest.raises(MergeError, match=f"θ0 has no tensor '{name}'.*trained from"):
        merge_folders(base, trained, tmp_path / "out", at(0.5))
    assert sorted(os.listdir(tmp_path)) == ["base", "trained"]


@pytest.mark.parametrize("kind", ["gpt2", "bloom"])
def test_names_of_the_hub(kind: str, tmp_path: Path) -> None:
    """These are stored there without the prefix that a trained run has."""
    sizes = {"vocab_size": 259, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    model.transformer.save_pretrained(tmp_path / "base")
    model.save_pretrained(tmp_path / "trained")
    assert not tensors(tmp_path / "base").keys() & tensors(tmp_path / "trained").keys()
    edit_first_shard(tmp_path / "trained", lambda t: t.update({n: 3 * t[n] for n in t}))
    merge_folders(tmp_path / "base", tmp_path / "trained", tmp_path / "out", at(0.5))
    initial = dict(model.named_parameters())
    for name, tensor in tensors(tmp_path / "out").items():
        torch.testing.assert_close(tensor, 2 * initial[name])
    assert sorted(os.listdir(tmp_path)) == ["base", "out", "trained"]


def test_buffers_that_training_left_alone_are_theta0s(
    base: Path, trained: Path, tmp_path: Path
) -> None:
    """Equal ones stay the same, bit for bit; integers cannot be averaged."""
    equal = {"correction": torch.full((3,), 0.1), "count": torch.tensor(7)}
    for folder in (base, trained):
        edit_first_shard(folder, lambda content: content.update(equal))
    merge_folders(base, trained, tmp_path / "out", at(0.3))
    merged = tensors(tmp_path / "out")
    assert all(torch.equal(merged[name], equal[name]) for name in equal)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"

    edit_first_shard(trained, lambda content: content.update(count=torch.tensor(8)))
    with pytest.raises(MergeError, match="tensor 'count' holds integers that differ between θ0"):
        merge_folders(base, trained, tmp_path / "other", at(0.3))
    assert not (tmp_path / "other").exists()


def test_what_is_not_written_as_merged_is_refused(
    base: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flip(content: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file({n: -t for n, t in content.items()}, path, metadata=metadata)

    monkeypatch.setattr(merge_module, "save_file", flip)
    with pytest.raises(MergeError, match="differs when it is read back"):
        merge_folders(base, trained, tmp_path / "out", at(0.3))
    assert not (tmp_path / "out").exists()


def test_other_shape_is_named(base: Path, trained: Path, tmp_path: Path) -> None:
    """Shapes that broadcast would otherwise merge to nonsense silently."""
    name = "model.norm.weight"
    for path in weight_files(trained):
        content = load_file(path)
        if name in content:
            save_file(content | {name: torch.ones(1)}, path, metadata={"format": "pt"})
    with pytest.raises(MergeError, match=rf"'{name}' is \[64\] in θ0 and \[1\] in the trained"):
        merge_folders(base, trained, tmp_path / "out", at(0.5))
    assert sorted(os.listdir(tmp_path)) == ["base", "trained"]


@pytest.mark.parametrize("side", ["base", "trained"])
def test_damaged_weights_are_named(base: Path, trained: Path, tmp_path: Path, side: str) -> None:
    path = weight_files(tmp_path / side)[-1]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelError, match=f"{path.name} is damaged or truncated"):
        merge_folders(base, trained, tmp_path / "out", at(0.5))
    assert sorted(os.listdir(tmp_path)) == ["base", "trained"]


def test_interrupted_merge_keeps_the_previous_folder(
    base: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    merge_folders(base, trained, out, at(0.5))
    before = {path.name: sha256_of(path) for path in out.iterdir()}

    def full_disk(content: object, path: Path, metadata: object) -> None:
        if path.name == weight_files(trained)[-1].name:
            raise OSError(28, "No space left on device")
        save_file(content, path, metadata=metadata)

    monkeypatch.setattr(merge_module, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        merge_folders(base, trained, out, at(0.9))
    assert {path.name: sha256_of(path) for path in out.iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["base", "out", "trained"]


def test_others_can_read_the_result(base: Path, trained: Path, tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        merge_folders(base, trained, tmp_path / "out", at(0.5))
    finally:
        os.umask(umask)
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "out").iterdir()} == {0o644}


def run_config(method: str, **options: object) -> str:
    return json.dumps(
        {
            "run": "r",
            "model": "random-2layer",
            "model_digest": "",
            "domain": {"name": "medcalc"},
            "method": {"name": method, "options": options},
            "learning_rate": 1e-3,
            "seed": 0,
            "training": {},
        }
    )


def test_stage_writes_weights_and_record(random_model: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "wise" / "final"
    flags = {"base-model": random_model, "trained": trained, "out": out}
    done = subprocess.run(
        ["sft-tradeoff", "merge", "--config", run_config("wise_ft", alpha=0.25)]
        + [part for flag, value in flags.items() for part in (f"--{flag}", value)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    initial, final, merged = map(tensors, (random_model, trained, out))
    assert all(torch.equal(merged[n], initial[n].lerp(final[n], 0.25)) for n in merged)
    record = json.loads((out.parent / "train.json").read_text())
    assert checksum_path(out.parent / "train.json").is_file()
    assert record["run_info"]["config"]["method"]["options"]["alpha"] == 0.25
    info = record["train_info"]
    assert (info["n_steps"], info["log"]) == (0, [])
    assert 0 < info["time_s"] < 60
    assert info["peak_memory_bytes"] > MB
    model = json.loads((random_model / "MODEL.json").read_text())
    assert record["meta_info"]["base_model_sha256"] == model["sha256"]
    assert len(record["meta_info"]["trained_sha256"]) == 64
    assert str(tmp_path) not in json.dumps(record)


def test_record_follows_the_trained_weights(
    random_model: Path, trained: Path, tmp_path: Path
) -> None:
    """One file: its digest, as ``MODEL.json`` has it; other weights, another digest."""
    config = RunConfig.model_validate_json(run_config("wise_ft"))
    digests = []
    for source in (random_model, trained):
        merge(config, random_model, source, tmp_path / source.name / "final")
        record = json.loads((tmp_path / source.name / "train.json").read_text())
        digests.append(record["meta_info"]["trained_sha256"])
    assert digests[0] == sha256_of(random_model / "model.safetensors")
    assert digests[1] != digests[0]


def test_method_that_does_not_merge(random_model: Path, trained: Path, tmp_path: Path) -> None:
    config = RunConfig.model_validate_json(run_config("sft"))
    with pytest.raises(MergeError, match=r"run 'r': method 'sft' does not merge.*wise_ft"):
        merge(config, random_model, trained, tmp_path / "sft" / "final")
    assert sorted(os.listdir(tmp_path)) == ["trained"]
