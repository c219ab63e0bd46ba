"""Runs that cannot fit are refused, with advice that really helps."""

import logging

import psutil
import pytest
import torch

from sft_tradeoff.system.console import UserError
from sft_tradeoff.training.memory import estimate, gib
from sft_tradeoff.training.memory_limit import (
    Plan,
    available_bytes,
    cgroup_limits,
    check_memory,
    refuse_if_too_large,
)
from tests.unit.training.test_memory import billion, run_config


def plan(longest=1024, config=None, on_gpu=False, **training):
    config = config or run_config(**{"batch_size": 8, "micro_batch_size": 8, **training})
    return Plan(config, longest, on_gpu=on_gpu)


def refusal(plan, available):
    with pytest.raises(UserError) as caught:
        refuse_if_too_large(billion(), plan, available)
    return str(caught.value)


def test_a_run_that_fits_is_let_through():
    need = estimate(billion(), run_config(), 1024)
    assert refuse_if_too_large(billion(), plan(), need.total) == need


def test_only_what_helps_is_advised_with_its_total():
    """Activations dominate; a batch of 2 is the largest that fits, with no byte to spare."""
    small = estimate(billion(), run_config(micro_batch_size=2), 1024).total
    text = refusal(plan(), small)
    assert "test" in text and gib(small) in text and "largest part is activations" in text
    assert f"training.micro_batch_size: 2 (now 8): {gib(small)}" in text
    checkpointed = estimate(billion(), run_config(gradient_checkpointing=True), 1024).total
    assert f"training.gradient_checkpointing: true: {gib(checkpointed)}" in text
    assert "training.max_length: 256 (longest now 1024)" in text
    # float32 activations are larger, and there is no GPU to add
    assert "precision" not in text and "fsdp" not in text


def test_large_weights_leave_other_advice():
    """One short checkpointed sequence: only the state of 1.1 billion trained weights is large."""
    training = {"micro_batch_size": 1, "gradient_checkpointing": True}
    available = 12 * 2**30
    text = refusal(plan(64, **training), available)
    assert "any of these makes it fit: method: lora" in text
    assert not any(word in text for word in ("micro_batch", "checkpointing", "fsdp", "max_length"))
    text = refusal(plan(64, on_gpu=True, **training), available)
    half = estimate(billion(), run_config(**training), 64, n_shards=2, on_gpu=True).total
    assert f"training.sharding: fsdp, training.processes: 2: {gib(half)}" in text


def test_changes_that_help_only_together():
    """No more changes are named than needed; the total is that of the run with exactly those."""
    full = plan(2048, config=run_config("kl_reg", precision="fp32"))
    both = run_config("kl_reg", precision="fp32", micro_batch_size=1, gradient_checkpointing=True)
    need = estimate(billion(), both, 2048).total
    text = refusal(full, need)
    assert "no single change is enough" in text
    assert text.endswith(
        "but together these are: training.micro_batch_size: 1 (now 8), "
        f"training.gradient_checkpointing: true: {gib(need)}"
    )


def test_precision_is_advised_where_it_halves_the_activations():
    """Float32 activations are nearly twice those of bfloat16; the reverse would not help."""
    config = run_config(precision="fp32")
    need = estimate(billion(), run_config(), 4096).total
    text = refusal(plan(4096, config=config), need)
    assert f"training.precision: fp32_master: {gib(need)}" in text
    assert "precision" not in refusal(plan(4096), need // 2)


def test_precision_is_no_advice_where_weights_are_most():
    """A master run has 18 bytes a weight, a float32 run 16; both save few activations."""
    config = run_config(precision="fp32", micro_batch_size=1, gradient_checkpointing=True)
    assert "precision" not in refusal(plan(64, config=config), 2**30)


def test_nothing_helps():
    text = refusal(plan(64, micro_batch_size=1, batch_size=8), 2**30)
    assert "not" not in text.split("no single")[0]
    assert "nor are all together" in text and "larger machine" in text


def test_adapters_are_no_advice_to_a_run_that_trains_them():
    """Nothing left to change: one short sequence, checkpointed, in bfloat16, adapters."""
    config = run_config(
        "lora", batch_size=8, micro_batch_size=1, gradient_checkpointing=True, precision="bf16_pure"
    )
    text = refusal(plan(64, config=config), 2**30)
    assert "no setting makes it smaller" in text and "method" not in text


def test_doubtful_runs_are_warned_of(caplog):
    """The estimate may be too high by a fifth: at 0.9 of it the run is tried, at 0.7 refused."""
    need = estimate(billion(), run_config(), 4096).total
    with caplog.at_level(logging.WARNING):
        refuse_if_too_large(billion(), plan(4096), int(0.9 * need))
    assert "may be killed" in caplog.text and "micro_batch_size: 4" in caplog.text
    assert "any of these" in refusal(plan(4096), int(0.7 * need))


def test_check_logs_need_and_supply(random_model, caplog, monkeypatch):
    with caplog.at_level(logging.INFO):
        check_memory(random_model, run_config(), 100)
    assert "at the peak" in caplog.text and "available" in caplog.text
    monkeypatch.setattr("sft_tradeoff.training.memory_limit.available_bytes", lambda device: 10)
    with pytest.raises(UserError, match="larger machine"):
        check_memory(random_model, run_config(), 100)


def test_free_memory_is_shared_by_the_processes_of_a_machine(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(
        "sft_tradeoff.training.memory_limit.cgroup_limits", lambda: iter([6000, 4000])
    )
    assert available_bytes(torch.device("cpu")) == 4000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert available_bytes(torch.device("cpu")) == 2000
    monkeypatch.setattr("sft_tradeoff.training.memory_limit.cgroup_limits", lambda: iter([]))
    assert 0 < available_bytes(torch.device("cpu")) <= psutil.virtual_memory().total // 2


def test_control_groups_of_version_2(tmp_path):
    """The job's own limit and its ancestor's count; ``max`` is none."""
    (tmp_path / "cgroup").write_text("0::/jobs/job1/step\n")
    (tmp_path / "fs/jobs/job1/step").mkdir(parents=True)
    (tmp_path / "fs/jobs/job1/step/memory.max").write_text("max\n")
    (tmp_path / "fs/jobs/job1/memory.max").write_text("2000\n")
    (tmp_path / "fs/jobs/memory.max").write_text("3000\n")
    assert list(cgroup_limits(tmp_path / "cgroup", tmp_path / "fs")) == [2000, 3000]


def test_control_groups_of_version_1(tmp_path):
    """In a container the host's path does not exist, and the limit is at the root."""
    (tmp_path / "cgroup").write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n")
    (tmp_path / "fs/memory").mkdir(parents=True)
    (tmp_path / "fs/memory/memory.limit_in_bytes").write_text("5000\n")
    (tmp_path / "fs/cpu,cpuacct").mkdir()
    assert list(cgroup_limits(tmp_path / "cgroup", tmp_path / "fs")) == [5000]


def test_no_control_groups(tmp_path):
    assert list(cgroup_limits(tmp_path / "cgroup", tmp_path)) == []


def test_an_architecture_without_the_usual_sizes_is_not_refused(monkeypatch, caplog, tmp_path):
    """State-space models have no attention heads: nothing is estimated, and training goes on."""

    def fail(*arguments):
        raise AttributeError("'MambaConfig' object has no attribute 'num_attention_heads'")

    monkeypatch.setattr("sft_tradeoff.training.memory_limit.refuse_if_too_large", fail)
    check_memory(tmp_path, None, 10)
    assert "num_attention_heads" in caplog.text
