"""The training loop: cutting the batch changes nothing, kill −9 changes nothing, masters move."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM

from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.study.spec import MethodSpec, TrainingSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import checksum_path, sha256_of
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training import loop as trainer_module
from sft_tradeoff.training.loop import Trainer, TrainingDiverged
from sft_tradeoff.training.reference import reference_nll
from sft_tradeoff.training.resume import StateFile, exclusive
from sft_tradeoff.training.schedule import learning_rate_at
from sft_tradeoff.training.weighing import Weighing


def run_config(method="sft", learning_rate=1e-3, options=None, **training):
    spec = {"epochs": 2, "batch_size": 8, "micro_batch_size": 8, "precision": "fp32", **training}
    return RunConfig(
        run="test",
        model="random-2layer",
        model_digest="",
        domain=DomainSpec(name="medcalc"),
        method=MethodSpec(name=method, options=options or {}),
        learning_rate=learning_rate,
        seed=0,
        training=TrainingSpec(**spec),
    )


@pytest.fixture
def data(jsonl, examples):
    return tokenize_file(byte_tokenizer(), jsonl(examples), 200)


def trained(config, model_folder, data, reference=None, state=None):
    torch.manual_seed(0)
    model = load_model(model_folder, torch.float32)
    trainer = Trainer(config, model, data, 0, reference)
    trainer.run(state)
    return trainer


def test_micro_batch_statistics_would_have_been_seen(random_model, data, monkeypatch):
    """The invariance test can fail: with τ of each micro-batch the weights come out different."""
    whole = trained(run_config("talr"), random_model, data)
    original = Weighing.weights
    monkeypatch.setattr(
        Weighing,
        "weights",
        lambda self, batches, losses: [
            original(self, [b], [loss])[0] for b, loss in zip(batches, losses, strict=True)
        ],
    )
    cut = trained(run_config("talr", micro_batch_size=4), random_model, data)
    differences = [
        (a - b).abs().max().item()
        for a, b in zip(whole.weights.masters, cut.weights.masters, strict=True)
    ]
    assert max(differences) > 1e-4


def test_loss_is_the_mean_over_supervised_tokens(random_model, data):
    """First logged nll equals log-softmax computed from the full logits, token by token."""
    trainer = trained(run_config(learning_rate=1e-9), random_model, data)
    model = load_model(random_model, torch.float32)
    losses = []
    for row in trainer.schedule[0]:
        ids, mask = data.example(int(row))
        logits = model(torch.tensor(ids[None].astype("int64"))).logits[0].double()
        for t in np.flatnonzero(mask):
            losses.append(-logits[t - 1].log_softmax(-1)[int(ids[t])].item())
    assert trainer.log[0]["nll"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_training_learns(random_model, data):
    trainer = trained(run_config(learning_rate=1e-2, epochs=10), random_model, data)
    assert trainer.log[-1]["nll"] < 0.5 * trainer.log[0]["nll"]


def test_float32_masters_move_where_pure_bfloat16_cannot(random_model, data):
    """At 1e-6 an AdamW step is far below bfloat16's spacing for most weights."""
    shares = {}
    for precision in ("fp32_master", "bf16_pure"):
        start = load_model(random_model, torch.float32)
        if precision == "bf16_pure":
            start = start.to(torch.bfloat16)
        trainer = trained(run_config(learning_rate=1e-6, precision=precision), random_model, data)
        moved = [
            (a.float() != b.float()).float().mean().item()
            for (_, a), b in zip(start.named_parameters(), trainer.weights.masters, strict=True)
            if a.ndim == 2
        ]
        shares[precision] = np.mean(moved)
    assert shares["fp32_master"] > 0.9
    assert shares["bf16_pure"] < 0.2


def test_published_copy_is_the_rounded_master(random_model, data):
    trainer = trained(run_config(precision="fp32_master"), random_model, data)
    for compute, master in zip(trainer.weights.compute, trainer.weights.masters, strict=True):
        assert compute.dtype == torch.bfloat16 and master.dtype == torch.float32
        assert torch.equal(compute, master.to(torch.bfloat16))
        assert compute.grad is None


def test_training_computes_the_function_that_is_evaluated(random_model, data):
    """bfloat16 training starts at the loss of the bfloat16 model: rotary buffers stay float32."""
    reference = reference_nll(load_model(random_model, torch.bfloat16), data)
    trainer = trained(run_config(precision="fp32_master"), random_model, data)
    rows = trainer.schedule[0]
    tokens = np.concatenate([np.arange(data.offsets[r], data.offsets[r + 1]) for r in rows])
    assert trainer.log[0]["nll"] == pytest.approx(np.nanmean(reference[tokens]), rel=1e-3)
    assert {b.dtype for b in trainer.model.buffers() if b.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize(
    ("n_rows", "n_ranks", "size"), [(8, 2, 4), (9, 2, 1), (5, 3, 2), (1, 3, 4)]
)
def test_ranks_cut_a_batch_into_equally_many_parts(random_model, data, n_rows, n_ranks, size):
    """Together they see every label of the batch once, in the batch's order."""
    config = run_config(batch_size=n_rows, micro_batch_size=1)
    trainer = Trainer(config, load_model(random_model, torch.float32), data, 0)
    trainer.schedule = [np.arange(n_rows)]
    (whole,) = micro_batches(trainer, n_rows, 0, 1)
    shares = [micro_batches(trainer, size, rank, n_ranks) for rank in range(n_ranks)]
    assert {len(share) for share in shares} == {math.ceil(math.ceil(n_rows / n_ranks) / size)}
    for name in ("labels", "sequence", "token"):
        parts = [getattr(batch, name) for share in shares for batch in share]
        assert torch.equal(torch.cat(parts), getattr(whole, name))
    assert all(1 <= len(batch.input_ids) <= size for share in shares for batch in share)


def micro_batches(trainer, size, rank, n_ranks):
    """Micro-batches of the first step as one of several ranks would compute them."""
    trainer.config = run_config(batch_size=size, micro_batch_size=size)
    trainer.accelerator = SimpleNamespace(
        process_index=rank, num_processes=n_ranks, device=torch.device("cpu")
    )
    return list(trainer._micro_batches(0))


def test_a_shared_prefix_is_computed_once_if_the_model_can(
    random_model, jsonl, examples, monkeypatch
):
    """With and without, six steps train the same weights (gradients: the tests of methods)."""
    examples = [{**example, "prompt": 60 * "x" + example["prompt"]} for example in examples]
    data = tokenize_file(byte_tokenizer(), jsonl(examples), 200)
    plain = load_model(random_model, torch.float32)
    plain.set_attn_implementation("eager")
    apart = Trainer(run_config(), plain, data, 0)
    once = Trainer(run_config(), load_model(random_model, torch.float32), data, 0)
    assert [n_once(apart, step) for step in range(3)] == [0, 0, 0]
    assert all(n_once(once, step) > 60 for step in range(3))
    lengths = sorted(data.lengths[once.schedule[step]].max() for step in range(3))
    monkeypatch.setattr(trainer_module, "LONGEST", lengths[1])
    shorter = Trainer(run_config(), load_model(random_model, torch.float32), data, 0)
    assert sum(n_once(shorter, step) > 0 for step in range(3)) == 2
    for trainer in (apart, once):
        trainer.run()
    for name, weight in once.weights.state().items():
        torch.testing.assert_close(weight, apart.weights.state()[name], rtol=1e-4, atol=1e-5)


def test_nothing_is_shared_on_a_gpu_where_a_model_to_be_sharded_is_not_yet(
    random_model, data, monkeypatch
):
    class OnGpu(Accelerator):
        device = torch.device("cuda")

    monkeypatch.setattr(trainer_module, "Accelerator", OnGpu)
    monkeypatch.setattr(trainer_module, "shard", lambda *_: None)
    config = run_config(sharding="fsdp", processes=2, precision="fp32")
    trainer = Trainer(config, load_model(random_model, torch.float32), data, 0)
    assert trainer.model.device.type == "cpu" and trainer.share_up_to == 0


def n_once(trainer, step):
    (batch,) = trainer._micro_batches(step)
    return len(batch.shared_prefix)


def test_divergence_is_an_error_that_names_the_fix(random_model, data):
    with pytest.raises(TrainingDiverged, match=r"step \d+ of 6; lower learning_rate"):
        model = load_model(random_model, torch.float32)
        trainer = Trainer(run_config(), model, data, 0)
        trainer.weights.masters[0][0] = math.nan
        trainer.run()


def test_frozen_talr_reads_the_reference(random_model, data, tmp_path):
    """Weights from θ0 do not change while the model learns: same mean weight at every epoch."""
    nll = reference_nll(load_model(random_model, torch.float32), data)
    assert np.array_equal(~np.isnan(nll), data.response_mask)
    config = run_config("talr", options={"frozen": True, "tau": 2.0}, batch_size=24, epochs=3,
                        micro_batch_size=24, learning_rate=1e-2)  # fmt: skip
    log = trained(config, random_model, data, nll).log
    assert log[0]["nll"] != pytest.approx(log[-1]["nll"], rel=0.01)
    assert [r["mean_weight"] for r in log] == pytest.approx([log[0]["mean_weight"]] * 3)


def test_learning_rate_schedule_by_hand():
    """10 steps, warm-up 2: 1/2, 1, then cosine from 1 at step 2 to (1 + cos(7π/8))/2 at step 9."""
    config = run_config(learning_rate=1.0 - 1e-9, warmup_ratio=0.2)
    rates = [learning_rate_at(step, 10, config) for step in range(10)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx((1 + math.cos(7 * math.pi / 8)) / 2)


def command(config, model, tmp_path, name):
    out = tmp_path / name / "model"
    return [
        "sft-tradeoff", "train", "--config", config.model_dump_json(),
        "--base-model", str(model), "--data", str(tmp_path / "train.npz"),
        "--state", str(tmp_path / name / "state"), "--out", str(out),
    ]  # fmt: skip


def test_kill_9_and_resume_gives_bit_identical_weights(random_model, data, tmp_path):
    """Killed at several random moments, also while a resume point is being written."""
    data.save(tmp_path / "train.npz")
    config = run_config("talr", epochs=20, micro_batch_size=4, checkpoint_every_s=0,
                        precision="fp32_master")  # fmt: skip
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    subprocess.run(command(config, random_model, tmp_path, "whole"), check=True, env=environment)
    rng = random.Random(0)
    state = tmp_path / "killed" / "state"
    n_killed = 0
    for _ in range(2):
        process = subprocess.Popen(
            command(config, random_model, tmp_path, "killed"), env=environment
        )
        for _ in range(rng.randint(1, 20)):  # resume points, however fast they come
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
    """The second waits for the lock and says so; it goes on when the first has ended."""
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
    """Rank 1 of the second launch starts first, and has nobody to wait for but its own rank 0."""
    launched = []
    try:
        for _ in range(2):
            launched.append(
                subprocess.Popen(
                    [sys.executable, "-c", LAUNCHER, RANK, str(tmp_path / "state")],
                    stdout=subprocess.PIPE, text=True,
                )
            )  # fmt: skip
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
        assert not heard, "the ranks of the first launch are still at it"
        launched[0].kill()
        listener.join(timeout=60)
        assert heard == ["turn\n"] * 2
        assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids)
    finally:
        for launcher in launched:
            launcher.kill()
            launcher.communicate()


def newest(folder):
    """Name of the newest resume point: its predecessor may go while this looks."""
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
    """The first rank's clock says no, then another rank's part is damaged."""
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


def test_a_model_that_looks_ahead_is_refused(random_model, data):
    """It would read its labels; and a padded batch would not be what each row is alone."""
    config = LlamaConfig.from_pretrained(random_model)
    config.is_causal = False
    model = LlamaForCausalLM.from_pretrained(random_model, config=config, dtype=torch.float32)
    with pytest.raises(UserError, match=r"others follow it.*is_causal"):
        Trainer(run_config(), model, data, 0)
