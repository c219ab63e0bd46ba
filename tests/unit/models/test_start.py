"""The folder of a θ0 that is the weights of a run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import ModelError, advice, read_record
from sft_tradeoff.models.load import load_model, save_model
from sft_tradeoff.models.spec import ModelSpec, StartFrom
from sft_tradeoff.models.start import build_start
from sft_tradeoff.models.tokenizer_template import template_place
from sft_tradeoff.system.files import atomic_write_json

SPEC = ModelSpec(
    start_from=StartFrom(model="plain", domain="d", method="sft", learning_rate=0.1, seed=0)
)
CONFIG = {"run": "plain.d.sft.lr1e-1.seed0", "learning_rate": 0.1}


def trained(base: Path, results: Path, change: float = 0.5) -> Path:
    """A run's folder: θ0's weights plus a constant."""
    model = load_model(base, torch.float32)
    weights = {name: tensor.detach() + change for name, tensor in model.named_parameters()}
    folder = results / "runs" / CONFIG["run"] / "model"
    save_model(model, weights, base, folder)
    report = {"run_info": {"config": CONFIG}}
    atomic_write_json(folder.parent / "train.json", report, checksum=True)
    return folder


def build(base: Path, run: Path, out: Path) -> None:
    build_start("warm", SPEC, run, run.parent / "train.json", base, out)


def test_it_holds_the_runs_weights_and_outlives_the_run(random_model: Path, tmp_path: Path) -> None:
    run, out = trained(random_model, tmp_path), tmp_path / "models" / "warm"
    before = load_file(run / "model.safetensors")
    build(random_model, run, out)
    assert os.path.samefile(out / "model.safetensors", run / "model.safetensors")
    shutil.rmtree(run)
    after = dict(load_model(out, "auto").named_parameters())
    assert after["model.norm.weight"].equal(before["model.norm.weight"])
    record, base = read_record(out), read_record(random_model)
    assert (record["name"], record["license"]) == ("random-2layer", base["license"])
    (origin,) = record["built_from"]["asset"]["trained"]
    assert origin == {"config": CONFIG, "sha256": record["sha256"]}
    assert template_place(out) == template_place(random_model)
    assert record["chat"]["end_of_turn"] == base["chat"]["end_of_turn"]
    assert record["n_parameters"] == base["n_parameters"]
    assert advice(out) == f"delete the folder {out} and run the same command again"


def test_without_hard_links_it_is_a_copy(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    run, out = trained(random_model, tmp_path), tmp_path / "models" / "warm"
    monkeypatch.setattr(os, "link", refuse)
    build(random_model, run, out)
    shutil.rmtree(run)
    assert not (out / "model.safetensors").is_symlink()
    load_model(out, "auto")


def test_other_weights_of_the_same_settings_replace_it(random_model: Path, tmp_path: Path) -> None:
    """The examples may have changed."""
    out = tmp_path / "models" / "warm"
    build(random_model, trained(random_model, tmp_path), out)
    first = read_record(out)["sha256"]
    build(random_model, trained(random_model, tmp_path, change=0.25), out)
    assert read_record(out)["sha256"] != first


def test_a_start_from_a_start_lists_both_runs(random_model: Path, tmp_path: Path) -> None:
    warm, hot = tmp_path / "models" / "warm", tmp_path / "models" / "hot"
    build(random_model, trained(random_model, tmp_path), warm)
    build(warm, trained(warm, tmp_path / "second"), hot)
    runs = read_record(hot)["built_from"]["asset"]["trained"]
    assert [run["sha256"] for run in runs] == [
        read_record(folder)["sha256"] for folder in (warm, hot)
    ]


def test_the_template_of_the_catalogue_stays(copied: Path, tmp_path: Path) -> None:
    """A template from the study file, whose place is named for corrections."""
    template = (copied / "chat_template.jinja").read_text() + "{{ style }}"
    spec = ModelSpec(asset="mine", chat_template=template, chat_template_args={"style": ""})
    base, out = tmp_path / "base", tmp_path / "models" / "warm"
    build_model("mine", spec, copied, base, {"source": "local", "license": "MIT"})
    build(base, trained(base, tmp_path), out)
    texts = [(folder / "chat_template.jinja").read_text() for folder in (base, out)]
    assert texts[0] == texts[1]
    assert "model 'mine'" in template_place(out) == template_place(base)
    assert read_record(out)["license"] == "MIT"


def test_damaged_weights_are_refused(random_model: Path, tmp_path: Path) -> None:
    run, out = trained(random_model, tmp_path), tmp_path / "models" / "warm"
    path = run / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors has changed since it was written"):
        build(random_model, run, out)
    assert not out.exists()


def test_a_model_with_an_asset_is_not_built_from_a_run(random_model: Path, tmp_path: Path) -> None:
    run = trained(random_model, tmp_path)
    with pytest.raises(ModelError, match="'warm': start_from is not set; use build-model"):
        build_start(
            "warm", ModelSpec(format="random"), run, run.parent / "train.json", random_model, run
        )


def test_the_spec_of_other_models_is_written_as_before() -> None:
    """Digests of pretrained models must not change."""
    assert "start_from" not in json.loads(ModelSpec(format="random").model_dump_json())
    assert "start_from" in json.loads(SPEC.model_dump_json())
