"""Losses of single training tokens: all steps, however the batch is split, and after a crash."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from sft_tradeoff.analysis.token_records import TokensMismatch, read_training_tokens
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.study.spec import MethodSpec, TrainingSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import sha256_of
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.loop import Trainer
from sft_tradeoff.training.reference import (
    load_reference_nll,
    reference_hashes,
    reference_statistics,
    save_reference,
)
from sft_tradeoff.training.token_log import TokenLog, kept_examples
from sft_tradeoff.training.train import train

EPOCHS = 2


def config(record=True, **training):
    return RunConfig(
        run="r",
        model="m",
        model_digest="",
        domain=domain_spec(name="medcalc"),
        method=MethodSpec(name="sft"),
        learning_rate=1e-3,
        seed=0,
        training=TrainingSpec(
            **{"epochs": EPOCHS, "batch_size": 4, "micro_batch_size": 4, "precision": "fp32"}
            | training
        ),
        record_tokens=record,
    )


@pytest.fixture
def paths(jsonl, examples, tmp_path, random_model):
    """Tokenized data, and θ0's statistics of it."""
    data = tokenize_file(byte_tokenizer(), jsonl(examples), 200)
    data.save(tmp_path / "train.npz")
    hashes = reference_hashes(tmp_path / "train.npz", random_model) | {"dtype": "float32"}
    model = load_model(random_model, torch.float32).eval()
    save_reference(tmp_path / "ref.parquet", reference_statistics(model, data), hashes)
    return data, tmp_path / "train.npz", tmp_path / "ref.parquet"


def run(folder, model, paths, record=True, **training):
    _, data, reference = paths
    out = folder / "r" / "model"
    train(config(record, **training), model, data, out, reference_path=reference)
    return folder / "r"


def test_every_token_has_its_loss_of_every_epoch(tmp_path, random_model, paths):
    """The first step is that of θ0; each step's mean is its logged NLL."""
    folder = run(tmp_path / "a", random_model, paths)
    frame = read_training_tokens(folder).frame
    data = paths[0]
    assert len(frame) == EPOCHS * data.response_mask.sum()
    counts = frame.groupby(["epoch", "example", "place"], observed=True).size()
    assert (counts == 1).all() and sorted(frame["epoch"].unique()) == [1, 2]
    first = frame[frame["step"] == 1]
    np.testing.assert_allclose(first["nll"], first["reference_nll"], rtol=1e-4)
    reference = load_reference_nll(paths[2], paths[1], random_model)
    third = frame[(frame["example"] == "3") & (frame["epoch"] == 2)].sort_values("place")
    start, stop = data.offsets[3:5]
    kept = data.response_mask[start:stop]
    np.testing.assert_array_equal(third["token"], data.input_ids[start:stop][kept])
    np.testing.assert_array_equal(third["reference_nll"], reference[start:stop][kept])
    log = pd.read_json(folder / "train.json", typ="series")["train_info"]["log"]
    means = frame.groupby("step")["nll"].mean()
    assert means.tolist() == pytest.approx([record["nll"] for record in log], rel=1e-5)


def test_recording_and_splitting_the_batch_change_nothing(tmp_path, random_model, paths):
    whole, plain = (run(tmp_path / str(on), random_model, paths, on) for on in (True, False))
    weights = [sha256_of(f / "model" / "model.safetensors") for f in (whole, plain)]
    assert weights[0] == weights[1]
    assert not (plain / "training_tokens.parquet").exists()
    cut = run(tmp_path / "cut", random_model, paths, micro_batch_size=1)
    keys = ["step", "example", "place"]
    a, b = (read_training_tokens(f).frame.sort_values(keys) for f in (whole, cut))
    np.testing.assert_array_equal(a["token"], b["token"])
    np.testing.assert_allclose(a["nll"], b["nll"], rtol=2e-3, atol=1e-4)


def test_a_resume_point_keeps_the_tokens(random_model, paths):
    """Through ``_state`` and ``_restore``, as the loop does."""

    def trainer():
        found = Trainer(config(), load_model(random_model, torch.float32), paths[0], 0)
        found.weighing.token_log = TokenLog(paths[0], EPOCHS, 4)
        return found

    whole, start, resumed = trainer(), trainer(), trainer()
    for step in range(4):
        whole.log.append(whole.optimizer_step(step))
    for step in range(2):
        start.log.append(start.optimizer_step(step))
    resumed._restore(start._state())
    for step in range(2, 4):
        resumed.optimizer_step(step)
    a, b = whole.weighing.token_log, resumed.weighing.token_log
    assert len(a.nll) == len(b.nll) == 4
    for name in ("position", "nll"):
        assert torch.equal(torch.cat(getattr(a, name)), torch.cat(getattr(b, name)))


def test_large_runs_keep_whole_examples():
    """Of 100 examples of 10 tokens over 3 epochs, 15 have 450 tokens; at least one is kept."""
    n = np.full(100, 10)
    kept = kept_examples(n, epochs=2.5, most=470)
    assert kept.sum() == 15
    assert (kept == kept_examples(n, epochs=3, most=470)).all()
    assert kept_examples(n, epochs=1, most=10**6).all()
    assert kept_examples(n, epochs=1, most=5).sum() == 1


def test_only_kept_examples_are_recorded(paths):
    data = paths[0]
    log = TokenLog(data, epochs=1, batch_size=4, most=40)
    position = torch.from_numpy(np.flatnonzero(data.response_mask))
    log.add(position, position.float())
    example = np.searchsorted(data.offsets, log.position[0].numpy(), side="right") - 1
    assert 0 < len(np.unique(example)) < len(data)
    assert len(example) == data.n_supervised[np.unique(example)].sum()
    assert torch.equal(log.nll[0], log.position[0].float())


def test_what_is_missing_or_of_another_run_is_refused(tmp_path, random_model, paths):
    with pytest.raises(UserError, match=r"record_tokens needs θ0's losses .* add --reference"):
        train(config(), random_model, paths[1], tmp_path / "r" / "model")
    folder = run(tmp_path / "a", random_model, paths)
    other = tmp_path / "other"
    folder.rename(other)
    with pytest.raises(TokensMismatch, match=r"run is r, .* has other; delete the file"):
        read_training_tokens(other)
