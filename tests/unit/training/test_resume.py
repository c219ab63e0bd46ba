"""Resume points: kill −9 changes nothing, and one process at a time trains a run."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.system.files import checksum_path, sha256_of
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.loop import Trainer
from sft_tradeoff.training.resume import StateFile, exclusive
from tests.unit.training.test_loop import run_config, trained


@pytest.fixture
def data(jsonl, examples):
    return tokenize_file(byte_tokenizer(), jsonl(examples), 200)


def command(config, model, tmp_path, name):
    out = tmp_path / name / "model"
    return [
        *("sft-tradeoff", "train", "--config", config.model_dump_json()),
        *("--base-model", str(model), "--data", str(tmp_path / "train.npz")),
        *("--state", str(tmp_path / name / "state"), "--out", str(out)),
    ]


def test_kill_9_and_resume_gives_bit_identical_weights(random_model, data, tmp_path):
    """Killed at several random moments, also while a resume point is being written."""
    data.save(tmp_path / "train.npz")
    config = run_config(
        "talr", epochs=20, micro_batch_size=4, checkpoint_every_s=0, precision="fp32_master"
    )
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    subprocess.run(command(config, random_model, tmp_path, "whole"), check=True, env=environment)
    rng = random.Random(0)
    state = tmp_path / "killed" / "state"
    n_killed = 0
    for _ in range(2):
        process = subprocess.Popen(
            command(config, random_model, tmp_path, "killed"), env=environment
        )
        for _ in range(rng.randint(1, 20)):  # counts resume points, however fast they appear
            mark = newest(state)
            while process.poll() is None and newest(state) == mark:
                time.sleep(0.0001)
        time.sleep(rng.uniform(0, 0.005))
        process.send_signal(signal.SIGKILL)
        n_killed += process.wait() == -signal.SIGKILL
    assert n_killed == 2, "the run is too short for this test"
    assert not (tmp_path / "killed" / "train.json").exists()
    subprocess.run(command(config, random_model, tmp_path, "killed"), check=True, env=environment)
    hashes = {sha256_of(tmp_path / n / "model" / "model.safetensors") for n in ("whole", "killed")}
    assert len(hashes) == 1
    reports = [json.loads((tmp_path / n / "train.json").read_text()) for n in ("whole", "killed")]
    assert checksum_path(tmp_path / "whole" / "train.json").is_file()
    assert reports[0]["train_info"]["log"] == reports[1]["train_info"]["log"]
    info = reports[0]["train_info"]
    assert (info["n_examples"], info["n_truncated"]) == (24, 0)
    assert not state.exists()


def test_two_processes_of_one_run_take_turns(tmp_path, caplog):
    """The second waits for the lock and logs it; it continues when the first has ended."""
    caplog.set_level("INFO")
    order = []

    def second():
        with exclusive(tmp_path / "state"):
            order.append("second")

    with exclusive(tmp_path / "state"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
    assert "waiting" in caplog.text
    with exclusive(tmp_path / "state"):
        pass


# Launchers of two ranks each, as accelerate would start them; a rank says when its turn has come.
RANK = """
import sys, time
from pathlib import Path
from sft_tradeoff.training.resume import exclusive
with exclusive(Path(sys.argv[1])):
    print("turn", flush=True)
    time.sleep(60)
"""
LAUNCHER = """
import os, subprocess, sys
ranks = [
    subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], env=dict(os.environ, RANK=str(rank)))
    for rank in (1, 0)
]
print(*(rank.pid for rank in ranks), flush=True)
[rank.wait() for rank in ranks]
"""


def test_all_ranks_wait_for_the_ranks_of_another_launcher_which_end_with_it(tmp_path):
    """Rank 1 of the second launch starts first, and waits for its own rank 0 only."""
    launched = []
    try:
        for _ in range(2):
            launched.append(
                subprocess.Popen(
                    [sys.executable, "-c", LAUNCHER, RANK, str(tmp_path / "state")],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            if len(launched) == 1:
                pids = launched[0].stdout.readline().split()
                assert [launched[0].stdout.readline() for _ in range(2)] == ["turn\n"] * 2
        assert launched[1].stdout.readline().split()
        heard = []
        listener = threading.Thread(
            target=lambda: heard.extend(launched[1].stdout.readline() for _ in range(2))
        )
        listener.start()
        listener.join(timeout=6)
        assert not heard, "the ranks of the first launch still run"
        launched[0].kill()
        listener.join(timeout=60)
        assert heard == ["turn\n"] * 2
        assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids)
    finally:
        for launcher in launched:
            launcher.kill()
            launcher.communicate()


def newest(folder):
    """Newest resume point; the previous one may disappear meanwhile."""
    return max(folder.glob("[!.]*.pt"), key=lambda p: int(p.name.split(".")[1]), default=None)


def test_an_interrupted_save_keeps_the_previous_resume_point(tmp_path, monkeypatch):
    file = StateFile(tmp_path / "state", "key")
    file.save({"a": torch.ones(3)}, 1)

    def half(state, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        file.save({"a": torch.zeros(3)}, 2)
    assert torch.equal(file.load()["a"], torch.ones(3))
    assert [p.name for p in file.folder.glob("[!.]*")] == ["key.1.0of1.pt"]


def test_damaged_resume_point_starts_over(random_model, data, tmp_path, caplog):
    file = StateFile(tmp_path / "state", "key")
    assert file.load() is None
    file.save({"a": torch.ones(3)}, 1)
    assert torch.equal(file.load()["a"], torch.ones(3))
    (path,) = file.folder.glob("*.pt")
    path.write_bytes(path.read_bytes()[:100])
    assert file.load() is None
    assert "starting over" in caplog.text


def test_a_resume_point_counts_once_all_its_parts_are_there(tmp_path):
    """Two ranks; the second dies before it saves step 2, and both go on from step 1."""
    ranks = [StateFile(tmp_path, "key", part, 2) for part in range(2)]
    for part, rank in enumerate(ranks):
        assert rank.load() is None
        rank.save({"a": torch.tensor([part, 1])}, 1)
    ranks[0].save({"a": torch.tensor([0, 2])}, 2)
    assert [rank.load()["a"].tolist() for rank in ranks] == [[0, 1], [1, 1]]
    ranks[1].save({"a": torch.tensor([1, 2])}, 2)
    assert [rank.load()["a"].tolist() for rank in ranks] == [[0, 2], [1, 2]]
    for rank in ranks:
        rank.keep_only(2)
    names = ["key.2.0of2.pt", "key.2.1of2.pt"]
    assert sorted(p.name for p in tmp_path.glob("[!.]*")) == names
    assert sorted(p.name for p in tmp_path.glob(".*")) == [f".{name}.sha256" for name in names]
    assert StateFile(tmp_path, "key", 0, 3).load() is None
    assert StateFile(tmp_path, "other", 0, 2).load() is None


def test_ranks_save_by_one_clock_and_resume_together_or_not_at_all(
    random_model, data, tmp_path, monkeypatch
):
    """The first rank's clock decides not to save; then another rank's part is damaged."""
    config = run_config(checkpoint_every_s=0)
    file = StateFile(tmp_path, "key")
    monkeypatch.setattr("sft_tradeoff.training.loop.broadcast_object_list", lambda _: [False])
    trained(config, random_model, data, state=file)
    assert file.load() is None
    monkeypatch.undo()
    trained(config, random_model, data, state=file)
    assert len(file.load()["log"]) == 6
    monkeypatch.setattr("sft_tradeoff.training.loop.gather_object", lambda found: [*found, False])
    monkeypatch.setattr(Trainer, "_restore", None)
    assert len(trained(config, random_model, data, state=file).log) == 6
