"""The training loop: splitting the batch changes nothing, and masters move."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM

from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.study.runs import RunConfig
from sft_tradeoff.study.spec import MethodSpec, TrainingSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training import loop as trainer_module
from sft_tradeoff.training.loop import Trainer, TrainingDiverged
from sft_tradeoff.training.reference import reference_nll
from sft_tradeoff.training.weighing import Weighing


def run_config(method="sft", learning_rate=1e-3, options=None, **training):
    spec = {"epochs": 2, "batch_size": 8, "micro_batch_size": 8, "precision": "fp32", **training}
    return RunConfig(
        run="test",
        model="random-2layer",
        model_digest="",
        domain=domain_spec(name="medcalc"),
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
    """The invariance test can fail: with τ per micro-batch the weights differ."""
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


@pytest.mark.parametrize("method", ["sft", "kl_reg"])
def test_float32_computes_where_bfloat16_is_slow(method, random_model, data, slow_bfloat16):
    """And the run stays the one that the study asked for."""
    config = run_config(method, precision="fp32_master")
    found = trained(config, random_model, data)
    wanted = trained(run_config(method, precision="fp32"), random_model, data)
    for a, b in zip(found.weights.masters, wanted.weights.masters, strict=True):
        assert torch.equal(a, b)
    assert found.info()["compute_type"] == "float32" and found.config == config
    pure = Trainer(
        run_config(precision="bf16_pure"), load_model(random_model, torch.float32), data, 0
    )
    assert pure.info()["compute_type"] == "bfloat16"


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
def test_ranks_split_a_batch_into_equally_many_parts(random_model, data, n_rows, n_ranks, size):
    """Together they see every label of the batch once, in order."""
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
    """With and without it, six steps give the same weights (gradients: test_loop_methods)."""
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
    config = run_config(
        "talr",
        options={"frozen": True, "tau": 2.0},
        batch_size=24,
        epochs=3,
        micro_batch_size=24,
        learning_rate=1e-2,
    )
    log = trained(config, random_model, data, nll).log
    assert log[0]["nll"] != pytest.approx(log[-1]["nll"], rel=0.01)
    assert [r["mean_weight"] for r in log] == pytest.approx([log[0]["mean_weight"]] * 3)


def test_a_model_that_looks_ahead_is_refused(random_model, data):
    """It would read its labels, and padding would change each row."""
    config = LlamaConfig.from_pretrained(random_model)
    config.is_causal = False
    model = LlamaForCausalLM.from_pretrained(random_model, config=config, dtype=torch.float32)
    with pytest.raises(UserError, match=r"others follow it.*is_causal"):
        Trainer(run_config(), model, data, 0)


def test_too_little_gpu_memory_is_not_reported_as_a_model_that_refuses_bfloat16(random_model, data):
    """PyTorch's error is a RuntimeError, like that of a model whose code mixes dtypes."""
    model = load_model(random_model, torch.float32)

    def full(module, inputs):
        if inputs[0].dtype == torch.bfloat16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    model.base_model.layers[0].register_forward_pre_hook(full)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        Trainer(run_config(precision="fp32_master"), model, data, 0)
