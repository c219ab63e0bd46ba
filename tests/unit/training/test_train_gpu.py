"""What a GPU computes is what the CPU computes, and twice the same; run by ``make test-gpu``.

Every other test hides GPUs: their kernels sum in an order that depends on the shape.
"""

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
import torch
from lm_eval.api.instance import Instance

from sft_tradeoff.evaluation.load import load_lm
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.reference import reference_nll
from sft_tradeoff.training.train import make_deterministic, train
from tests.unit.training.test_loop import trained
from tests.unit.training.test_loop_methods import TRAINED, assert_same, config_of
from tests.unit.training.train_in_processes import run_launcher, train_through_crashes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU (make test-gpu)"),
]
CONTEXT = "The quick brown fox "
CHOICES = ["jumps over the lazy dog", "sleeps", " " * 40 + "runs", "x"]


@pytest.fixture
def data(jsonl, examples):
    return tokenize_file(byte_tokenizer(), jsonl(examples), 200)


@pytest.fixture
def reference(random_model, data):
    return reference_nll(load_model(random_model, torch.float32), data)


@pytest.fixture(scope="module")
def cpu():
    """A worker process that sees no GPU."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES=""):  # inherited at its start
            assert not pool.submit(torch.cuda.is_available).result()
        yield pool


def train_again(config, *arguments):
    trainer = trained(RunConfig.model_validate(config), *arguments)
    return trainer.accelerator.device.type, trainer.log


def answers(folder, dtype="float32"):
    """Scores, rolling scores and generations of some weights."""
    lm = load_lm(folder, EvaluationSpec(tasks={}, dtype=dtype, max_length=128))
    pairs = [(CONTEXT, choice) for choice in CHOICES] + [("", "abc"), (CONTEXT * 9, "end")]
    until = {"until": ["\n"], "max_gen_toks": 12}
    asked = {
        "loglikelihood": pairs,
        "loglikelihood_rolling": [(CONTEXT * 10,)],
        "generate_until": [(CONTEXT * n, until) for n in (1, 2, 3)],
    }
    return lm.device.type, {
        kind: getattr(lm, kind)([Instance(kind, {}, each, i) for i, each in enumerate(arguments)])
        for kind, arguments in asked.items()
    }


@pytest.mark.parametrize("label", TRAINED)
def test_methods_train_as_on_the_cpu(random_model, data, reference, cpu, label):
    """Six steps in float32: losses, weights of tokens, penalties, gradient norms."""
    config = config_of(label)
    gpu = trained(config, random_model, data, reference)
    assert {t.device.type for t in gpu.weights.state().values()} == {"cuda"}
    arguments = config.model_dump(mode="json"), random_model, data, reference
    device, log = cpu.submit(train_again, *arguments).result()
    assert device == "cpu"
    for a, b in zip(gpu.log, log, strict=True):
        assert a == pytest.approx(b, rel=1e-2, abs=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "fp32_master", "bf16_pure"])
def test_the_same_training_gives_the_same_bits(random_model, data, precision):
    """Deterministic kernels, attention's backward pass among them."""
    make_deterministic(0)
    config = config_of("sft", precision=precision)
    one, two = (trained(config, random_model, data) for _ in range(2))
    assert one.log == two.log
    assert_same(one.weights.state(), two.weights.state(), rtol=0, atol=0)


@pytest.mark.parametrize("label", ["sft", "psft", "l2_reg", "kl_reg"])
def test_a_crash_and_resume_gives_bit_identical_weights(
    random_model, data, reference, tmp_path, label
):
    make_deterministic(0)
    config = config_of(label, checkpoint_every_s=0, micro_batch_size=4, precision="fp32_master")
    whole = trained(config, random_model, data, reference)
    resumed = train_through_crashes(config, random_model, data, reference, tmp_path, (3, 5))
    assert resumed.log == whole.log
    assert_same(whole.weights.state(), resumed.weights.state(), rtol=0, atol=0)


def test_checkpoints_score_and_generate_as_on_the_cpu(random_model, cpu):
    device, found = answers(random_model)
    assert device == "cuda"
    device, expected = cpu.submit(answers, random_model).result()
    assert device == "cpu"
    assert found["generate_until"] == expected["generate_until"]
    for (nats, greedy), (wanted, wanted_greedy) in zip(
        found["loglikelihood"], expected["loglikelihood"], strict=True
    ):
        assert nats == pytest.approx(wanted, abs=1e-3)
        assert greedy == wanted_greedy
    assert found["loglikelihood_rolling"] == pytest.approx(
        expected["loglikelihood_rolling"], rel=1e-5
    )


def test_a_shard_of_one_trains_as_a_whole_model(random_model, data, tmp_path):
    """FSDP over NCCL: with one process, because there may be one GPU, but in shards all the same.

    A study refuses shards without a second process, so the configuration is changed underneath.
    """
    data.save(tmp_path / "train.npz")
    config = config_of("sft", precision="fp32_master", max_grad_norm=1e9)
    whole = trained(config, random_model, data)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    command = [sys.executable, *start, "-m", "tests.unit.training.test_train_gpu"]
    paths = [random_model, tmp_path / "train.npz", tmp_path / "run" / "model"]
    run_launcher([*command, config.model_dump_json(), *map(str, paths)])
    record = json.loads((tmp_path / "run" / "train.json").read_text())
    for a, b in zip(whole.log, record["train_info"]["log"], strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-5)
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


if __name__ == "__main__":
    run = RunConfig.model_validate_json(sys.argv[1])
    sharded = run.training.model_copy(update={"sharding": "fsdp"})
    train(run.model_copy(update={"training": sharded}), *map(Path, sys.argv[2:]))
