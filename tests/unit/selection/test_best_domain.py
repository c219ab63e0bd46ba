"""The best epoch is kept, scored as evaluation scores it, and kills change nothing."""

from __future__ import annotations

import math
import multiprocessing
import signal

import pandas as pd
import pytest

from sft_tradeoff.analysis.run_records import training_record
from sft_tradeoff.models.folder import weight_files
from sft_tradeoff.selection.best_domain import best_epoch
from sft_tradeoff.system.files import checksum_path, sha256_of
from tests.unit.selection.material import PER_EPOCH, run_config, train, train_killed


def digest(out):
    (path,) = weight_files(out / "model")
    return sha256_of(path)


@pytest.mark.parametrize(
    ("scores", "losses", "best"),
    [
        ([0.2, 0.5, 0.4], [1, 2, 1], 2),
        ([0.5, 0.5, 0.5], [3, 1, 2], 2),  # a tie: the smaller NLL
        ([0.5, 0.5, 0.4], [1, 1, 0], 1),  # a tie of both: the earlier
        ([math.nan, 0.0, 0.0], [0, math.nan, 9], 3),  # a missing value is the worst
        ([0.0], [math.nan], 1),
    ],
)
def test_the_rule_of_choice(scores, losses, best):
    epochs = [
        {"step": step, "domain_score": score, "domain_nll": nll}
        for step, (score, nll) in enumerate(zip(scores, losses, strict=True), 1)
    ]
    assert best_epoch(epochs)["step"] == best


@pytest.mark.parametrize(("method", "rate", "best"), [("sft", 5e-2, 1), ("lora", 1e-1, 2)])
def test_the_weights_kept_are_those_of_the_best_epoch(material, tmp_path, method, rate, best):
    """With a constant learning rate, epoch 1 ends with the weights of a run of one epoch."""
    report = train(run_config(method, rate), material, tmp_path / "best")
    epochs = report["train_info"]["epochs"]
    assert [(e["epoch"], e["step"], e["n_items"]) for e in epochs] == [(1, 3, 4), (2, 6, 4)]
    assert [e["domain_score"] for e in epochs] == [0, 0]
    assert (epochs[0]["domain_nll"] < epochs[1]["domain_nll"]) == (best == 1)
    assert [e["selected"] for e in epochs] == [best == 1, best == 2]
    digests = {}
    for n_epochs in (1, 2):
        last = run_config(method, rate, select="last", epochs=n_epochs)
        other = train(last, material, tmp_path / str(n_epochs))
        assert "epochs" not in other["train_info"]
        digests[n_epochs] = digest(tmp_path / str(n_epochs))
    assert digest(tmp_path / "best") == digests[best] != digests[3 - best]
    # Scoring changes nothing in training: six steps, the same bits.
    assert report["train_info"]["log"] == other["train_info"]["log"]
    names = {p.name for p in (tmp_path / "best").iterdir() if p.suffix != ".sha256"}
    assert names == {"model", "train.json", "epochs.parquet"}


def test_epochs_are_recorded_item_by_item(material, tmp_path):
    """A fractional epoch ends with the run; the items give the recorded scores."""
    report = train(run_config(epochs=1.67, rate=1e-3), material, tmp_path)
    epochs = report["train_info"]["epochs"]
    assert [e["step"] for e in epochs] == [3, 5]
    assert [e["epoch"] for e in epochs] == [1, pytest.approx(5 / PER_EPOCH)]
    assert [e["selected"] for e in epochs] == [False, True]
    path = tmp_path / "epochs.parquet"
    assert checksum_path(path).is_file()
    items = pd.read_parquet(path)
    assert list(items) == ["epoch", "item", "metric", "value", "size", "cluster"]
    assert not items.duplicated(["epoch", "item", "metric"]).any()
    for record in epochs:
        rows = items[(items["epoch"] == record["epoch"]) & (items["metric"] == "nll")]
        assert len(rows) == 4
        assert record["domain_nll"] == pytest.approx(rows["value"].sum() / rows["size"].sum())
    assert set(report["meta_info"]) > {"validation_sha256", "validation_tokens_sha256"}
    assert training_record(tmp_path).epochs[1].selected


KILLED_AT = {
    "step 4": ["step 0", "step 1", "step 2", "score 3", "scored 3", "step 3", "step 4"],
    "score 6": ["step 4", "step 5", "score 6"],
    "scored 6": ["score 6", "scored 6"],
    "report": ["score 6", "scored 6", "report"],
    "never": ["score 6", "scored 6", "report"],
}


def test_kill_9_at_any_moment_changes_nothing(material, tmp_path):
    """In mid-epoch, before and after a scoring, and when the weights have their final name."""
    config = run_config()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = train(config, material, whole, tmp_path / "state")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([train.__module__, "lm_eval.evaluator"])
    for moment, lines in KILLED_AT.items():
        (killed / "done").unlink(missing_ok=True)
        process = context.Process(target=train_killed, args=(config, material, killed, moment))
        process.start()
        process.join()
        assert process.exitcode == (0 if moment == "never" else -signal.SIGKILL)
        assert (killed / "done").read_text().splitlines() == lines
    found = training_record(killed).raw
    assert digest(killed) == digest(whole)
    assert sha256_of(killed / "epochs.parquet") == sha256_of(whole / "epochs.parquet")
    assert steady(found) == steady(expected)
    assert not (killed / "state").exists()


def steady(report):
    """What must be the same in every repetition of a run."""
    epochs = [{k: v for k, v in e.items() if k != "time_s"} for e in report["train_info"]["epochs"]]
    return epochs, report["train_info"]["log"], report["meta_info"]


def test_damaged_weights_of_the_best_epoch_start_the_run_again(
    material, tmp_path, monkeypatch, caplog
):
    config, out, state = run_config(), tmp_path / "run", tmp_path / "state"
    expected = train(config, material, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("sft_tradeoff.training.train._report", None)
        with pytest.raises(TypeError):
            train(config, material, out, state)
    (path,) = state.glob("*.epochs/3/model.safetensors")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    found = train(config, material, out, state)
    assert "the best weights so far are damaged" in caplog.text and "starting over" in caplog.text
    assert digest(out) == digest(tmp_path / "whole")
    assert steady(found) == steady(expected)
