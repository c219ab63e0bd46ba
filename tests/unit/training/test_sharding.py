"""Two gloo processes give the weights of one; with FSDP, in half the memory. CPU only."""

import itertools
import json

import pytest
import torch

from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.study.spec import TrainingSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.reference import reference_nll
from sft_tradeoff.training.sharding import shard
from sft_tradeoff.training.token_loss import LossModule
from sft_tradeoff.training.train import check_processes, train
from tests.unit.training.test_loop import run_config, trained
from tests.unit.training.test_loop_methods import LEARNING_RATE, TRAINED, assert_same, config_of
from tests.unit.training.train_in_processes import launch, run_launcher

FSDP = {"processes": 2, "sharding": "fsdp"}
SHARDINGS = ("none", "fsdp")
MIXED = {"precision": "fp32_master", "epochs": 1, "max_grad_norm": 1e9}
# Shares of 5 and 4 sequences one by one, then a last batch of 6; and a last batch of 1 for both.
UNEVEN = {"batch_size": 9, "micro_batch_size": 1, "epochs": 1}
IDLE = {"batch_size": 23, "micro_batch_size": 23, "epochs": 1}
EVERY_STEP = {"checkpoint_every_s": 0, "micro_batch_size": 4, "precision": "fp32_master"}


def config(method, options=None, **training):
    return run_config(method, LEARNING_RATE, options, **training)


UNEVENLY = {
    "talr": config("talr", **UNEVEN),
    "psft": config("psft", {"refresh_every": 2}, **UNEVEN),
    "flow": config("flow", **UNEVEN),
    "kl_reg": config("kl_reg", {"beta": 1.0}, **UNEVEN),
    "asft": config("asft", **IDLE),
    "lora": config("lora", {"rank": 1}, **UNEVEN),  # of a row, the second rank's shard is empty
}
CRASHING = {
    "psft": config("psft", {"refresh_every": 4}, **EVERY_STEP),
    "l2_reg": config("l2_reg", {"strength": 0.1}, **EVERY_STEP),
}
CHECKPOINTED = {
    "sft": config("sft", **MIXED),
    "kl_reg": config("kl_reg", {"beta": 1.0}, **MIXED),
    "lora": config("lora", {"rank": 4}, **MIXED),
}


def with_training(run, **training):
    return run.model_copy(update={"training": run.training.model_copy(update=training)})


def assert_same_training(one, two):
    assert_same(one.weights.state(), two["masters"])
    for a, b in zip(one.log, two["log"], strict=True):
        assert a == pytest.approx(b, rel=2e-3, abs=1e-5)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    lengths = [(3 * i % 17, 1 + 5 * i % 23) for i in range(24)]
    records = [{"id": str(a), "prompt": "x" * a, "response": "y" * b} for a, b in lengths]
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return tokenize_file(byte_tokenizer(), path, 200)


@pytest.fixture(scope="module")
def reference(random_model, data):
    return reference_nll(load_model(random_model, torch.float32), data)


@pytest.fixture(scope="module")
def found(random_model, data, reference, tmp_path_factory):
    """All runs of this module that need two processes, in one launch."""
    entries = {f"uneven-{k}": (with_training(run, **FSDP), ()) for k, run in UNEVENLY.items()}
    for k, sharding in itertools.product(TRAINED, SHARDINGS):
        two = config_of(k, epochs=1, processes=2, sharding=sharding)
        entries[f"{sharding}-{k}"] = two, ()
    for k, run in CRASHING.items():
        entries[f"whole-{k}"] = with_training(run, **FSDP), ()
        entries[f"crash-{k}"] = with_training(run, **FSDP), (3, 5)
    for k, run in CHECKPOINTED.items():
        entries[f"replicated-{k}"] = with_training(run, processes=2), ()
        entries[f"sharded-{k}"] = with_training(run, **FSDP), ()
        checkpointing = with_training(run, **FSDP, gradient_checkpointing=True)
        entries[f"checkpointed-{k}"] = checkpointing, ()
    pure = config("sft", precision="bf16_pure", epochs=1, processes=2)
    entries["pure"] = pure, ()
    entries["sharded-pure"] = with_training(pure, **FSDP), ()
    folder = tmp_path_factory.mktemp("processes")
    return launch(folder, random_model, data, reference, entries)


@pytest.mark.parametrize("label", TRAINED)
def test_two_processes_give_the_weights_of_one(random_model, data, reference, found, label):
    """2 × 4 ≡ 1 × 8 for every method, with all parameters in each process or with shards."""
    one = trained(config_of(label, epochs=1), random_model, data, reference)
    for sharding in SHARDINGS:
        assert_same_training(one, found[f"{sharding}-{label}"])


@pytest.mark.parametrize("label", UNEVENLY)
def test_ranks_may_have_different_numbers_of_sequences(random_model, data, reference, found, label):
    """No rank waits forever, and the weights are those of one process."""
    one = trained(UNEVENLY[label], random_model, data, reference)
    assert_same_training(one, found[f"uneven-{label}"])


@pytest.mark.parametrize("label", CHECKPOINTED)
def test_bfloat16_computes_and_float32_shards_are_updated(found, label):
    """As with unsharded parameters: the same bfloat16 passes, the same masters.

    Clipping is out of reach here: a norm summed in another order moves masters by a last bit, and
    where one crosses a rounding boundary of bfloat16, the next step is another. It is compared in
    float32.
    """
    replicated, sharded = found[f"replicated-{label}"], found[f"sharded-{label}"]
    # The reference's head is another module.
    assert sharded["seen"] == {("torch.bfloat16", True, True)}
    assert sharded["dtypes"] == {"torch.float32"}
    assert replicated["n_held"] == sum(t.numel() for t in replicated["masters"].values())
    assert sharded["n_held"] == pytest.approx(replicated["n_held"] / 2, rel=0.01)
    assert_same(replicated["masters"], sharded["masters"], rtol=0, atol=0)


@pytest.mark.parametrize("label", CHECKPOINTED)
def test_gradient_checkpointing_changes_nothing(found, label):
    assert_same(
        found[f"sharded-{label}"]["masters"],
        found[f"checkpointed-{label}"]["masters"],
        rtol=0,
        atol=0,
    )
    assert found[f"sharded-{label}"]["log"] == found[f"checkpointed-{label}"]["log"]


def test_pure_bfloat16_stays_so(found):
    assert found["sharded-pure"]["dtypes"] == {"torch.bfloat16"}
    assert_same(found["pure"]["masters"], found["sharded-pure"]["masters"], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("label", CRASHING)
def test_a_crash_and_resume_gives_bit_identical_weights(found, label):
    """Interrupted after steps 3 and 5 of 6, as in one process."""
    whole, crashed = found[f"whole-{label}"], found[f"crash-{label}"]
    assert crashed["log"] == whole["log"]
    assert_same(whole["masters"], crashed["masters"], rtol=0, atol=0)


def test_accelerate_launch_writes_a_plain_model(random_model, data, tmp_path):
    """The train rule's command; without GPUs its processes compute on the CPU, over gloo."""
    data.save(tmp_path / "train.npz")
    run = config("talr", epochs=1, checkpoint_every_s=0)
    log = tmp_path / "log"
    with log.open("w") as stderr:
        run_launcher(
            [
                *[
                    "accelerate",
                    "launch",
                    "--multi_gpu",
                    "--num_processes",
                    "2",
                    "--num_machines",
                    "1",
                ],
                *["--main_process_port", "0", "--num_cpu_threads_per_process", "1"],
                *[
                    "--mixed_precision",
                    "no",
                    "--dynamo_backend",
                    "no",
                    "-m",
                    "sft_tradeoff",
                    "train",
                ],
                *("--config", with_training(run, **FSDP).model_dump_json()),
                *("--base-model", random_model, "--data", tmp_path / "train.npz"),
                *("--state", tmp_path / "state", "--out", tmp_path / "two" / "model"),
            ],
            stderr=stderr,
        )
    assert log.read_text().count("step 3/3") == 1
    train(run, random_model, tmp_path / "train.npz", tmp_path / "one" / "model")
    one, two = (load_model(tmp_path / n / "model", torch.float32) for n in ("one", "two"))
    assert_same(one.state_dict(), two.state_dict())
    assert two.config.to_dict() == {**one.config.to_dict(), "_name_or_path": str(two.name_or_path)}
    assert two.lm_head.weight is two.model.embed_tokens.weight
    report = json.loads((tmp_path / "two" / "train.json").read_text())
    assert report["meta_info"]["n_processes"] == 2
    assert not (tmp_path / "state").exists()


def test_a_wrong_number_of_processes_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(UserError, match="is 2, but 1 run; start with 'torchrun"):
        train(run_config(**FSDP), nowhere, nowhere, nowhere)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="processes is 1, but 3 run"):
        check_processes(TrainingSpec())


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"sharding": "fsdp"}, "needs processes of at least 2"),
        ({"processes": 9}, "processes 9 are more than the 8 sequences of batch_size"),
        ({"sharding": "zero3", "processes": 2}, "'none' or 'fsdp'"),
    ],
)
def test_settings_that_cannot_be_are_refused(training, message):
    with pytest.raises(ValueError, match=message):
        TrainingSpec(**training)


def test_a_model_without_named_layers_is_refused(random_model):
    """The whole model would be gathered at once."""
    model = load_model(random_model, torch.float32)
    model._no_split_modules = None
    with pytest.raises(UserError, match="LlamaForCausalLM does not name its layers"):
        shard(LossModule(model, None), "fp32", torch.device("cpu"))
