"""Every method through the real loop: neither splitting the batch nor crashes change anything."""

import numpy as np
import pytest
import torch

from sft_tradeoff.models.load import load_model, save_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.objectives import interpolate
from sft_tradeoff.objectives.base import Method, Options
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training import loop as trainer
from sft_tradeoff.training.loop import Trainer
from sft_tradeoff.training.merge import merge_folders
from sft_tradeoff.training.reference import reference_nll
from sft_tradeoff.training.train import train
from tests.unit.training.test_loop import run_config, trained
from tests.unit.training.train_in_processes import train_through_crashes

# Every method that trains, with its defaults and with the options that change what is computed.
TRAINED = {
    "sft": ("sft", {}),
    "talr": ("talr", {}),
    "talr-fixed": ("talr", {"tau": 2.0}),
    "talr-token-quantile": ("talr", {"level": "token", "quantile": 0.7, "normalize": True}),
    "talr-top_k": ("talr", {"top_k": 0.5}),
    "talr-each": ("talr", {"level": "each_sequence", "tau": "mean"}),
    "talr-frozen": ("talr", {"frozen": True}),
    "flow": ("flow", {}),
    "flow-token": ("flow", {"level": "token", "tau": 3.0}),
    "l2_reg": ("l2_reg", {"strength": 0.1}),
    "lora": ("lora", {"rank": 4}),
    "kl_reg": ("kl_reg", {"beta": 1.0}),
    "kl_reg-reverse": ("kl_reg", {"beta": 1.0, "direction": "reverse"}),
    "dft": ("dft", {}),
    "eaft": ("eaft", {}),
    "asft": ("asft", {"strength": 1.0}),
    "stm": ("stm", {"max_perplexity": 250.0}),
    "stm-normalize": ("stm", {"max_perplexity": 250.0, "normalize": True}),
    "psft": ("psft", {"refresh_every": 4}),
    "token_subset": ("token_subset", {"threshold": 0.004}),
    "token_subset-easy": ("token_subset", {"keep": "easy", "threshold": 0.004}),
}
# Whatever else is in the registry is tried with its defaults.
LISTED = {method for method, _ in TRAINED.values()}
TRAINED |= {k: (k, {}) for k, m in METHODS.items() if not m.merge and k not in LISTED}
LEARNING_RATE = 3e-3
FLOW_OF_TOKENS = {"level": "token", "tau": 2.0}


@pytest.fixture
def data(jsonl, examples):
    return tokenize_file(byte_tokenizer(), jsonl(examples), 200)


@pytest.fixture
def reference(random_model, data):
    return reference_nll(load_model(random_model, torch.float32), data)


def config_of(label, **training):
    method, options = TRAINED[label]
    return run_config(method, LEARNING_RATE, options, **training)


def assert_same(a, b, rtol=1e-4, atol=1e-5):
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], rtol=rtol, atol=atol)


@pytest.mark.parametrize("label", TRAINED)
def test_splitting_the_global_batch_changes_nothing(random_model, data, reference, label):
    """8 × 1 ≡ 4 × 2 ≡ 1 × 8 over six steps, weights and everything that is logged."""
    whole = trained(config_of(label), random_model, data, reference)
    for size in (4, 1):
        cut = trained(config_of(label, micro_batch_size=size), random_model, data, reference)
        assert_same(whole.weights.state(), cut.weights.state())
        for a, b in zip(whole.log, cut.log, strict=True):
            assert a == pytest.approx(b, rel=2e-3, abs=1e-5)


def moved(config, model_folder, data, reference):
    """A trainer away from θ0, where penalties have gradients, that keeps its gradients."""
    torch.manual_seed(0)  # adapters start at random values
    found = Trainer(config, load_model(model_folder, torch.float32), data, 0, reference)
    generator = torch.Generator().manual_seed(0)
    for master in found.weights.masters:  # in float32 the model's own weights
        master += 0.02 * torch.randn(master.shape, generator=generator)
    found._update = lambda step, record: None
    return found


@pytest.mark.parametrize("label", TRAINED)
def test_a_shared_prefix_changes_no_gradient(random_model, jsonl, examples, monkeypatch, label):
    """More than half of every example is shared; gradients of three steps, and what is logged."""
    common = "Say again, in the same letters and order: "
    prefixed = [{**example, "prompt": common + example["prompt"]} for example in examples]
    data = tokenize_file(byte_tokenizer(), jsonl(prefixed), 200)
    reference = reference_nll(load_model(random_model, torch.float32), data)
    once = moved(config_of(label), random_model, data, reference)
    monkeypatch.setattr(trainer, "LONGEST", 0)
    apart = moved(config_of(label), random_model, data, reference)
    for step in range(3):
        assert all(len(batch.shared_prefix) for batch in once._micro_batches(step))
        assert not any(len(batch.shared_prefix) for batch in apart._micro_batches(step))
        assert once.optimizer_step(step) == pytest.approx(apart.optimizer_step(step), rel=1e-5)
    found, wanted = (
        torch.cat([master.grad.flatten() for master in t.weights.masters]) for t in (once, apart)
    )
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("label", TRAINED)
def test_a_crash_and_resume_gives_bit_identical_weights(
    random_model, data, reference, tmp_path, label
):
    """Interrupted after steps 3 and 5 of 6: inside a refresh period of PSFT, and at its end."""
    config = config_of(label, checkpoint_every_s=0, micro_batch_size=4)
    whole = trained(config, random_model, data, reference)
    resumed = train_through_crashes(config, random_model, data, reference, tmp_path, (3, 5))
    assert resumed.log == whole.log
    assert_same(whole.weights.state(), resumed.weights.state(), rtol=0, atol=0)


def equal(a, b):
    return all(torch.equal(x, b.weights.state()[name]) for name, x in a.weights.state().items())


@pytest.mark.parametrize(
    ("method", "options", "limit", "limit_options"),
    [
        ("talr", {"tau": 1.0, "floor": 0.0}, "dft", {}),
        ("talr", {"tau": 1e12}, "sft", {}),
        ("l2_reg", {"strength": 0.0}, "sft", {}),
        ("kl_reg", {"beta": 0.0}, "sft", {}),
        ("asft", {"strength": 0.0}, "dft", {}),
        ("eaft", {"alpha": 0.0}, "sft", {}),
        ("psft", {"refresh_every": 1}, "sft", {}),
        ("stm", {"max_perplexity": 1e9}, "sft", {}),
        ("flow", {"tau": 1e12}, "sft", {}),
        ("token_subset", {"threshold": 0.999999}, "sft", {}),
        ("flow", FLOW_OF_TOKENS, "talr", {"frozen": True, "tau": 2.0, "floor": 0.0}),
    ],
)
def test_limit_cases_train_the_same_weights(
    random_model, data, reference, method, options, limit, limit_options
):
    """Over six steps."""
    found = trained(run_config(method, LEARNING_RATE, options), random_model, data, reference)
    wanted = trained(run_config(limit, LEARNING_RATE, limit_options), random_model, data, reference)
    assert_same(wanted.weights.state(), found.weights.state(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("label", [k for k in TRAINED if k not in ("sft", "lora")])
def test_every_method_trains_other_weights_than_sft(random_model, data, reference, label):
    """No method's options are silently ignored: its weights differ from plain SFT's."""
    sft = trained(config_of("sft"), random_model, data)
    other = trained(config_of(label), random_model, data, reference)
    assert not equal(sft, other)


@pytest.mark.parametrize("label", ["l2_reg", "kl_reg", "kl_reg-reverse", "asft"])
def test_penalties_start_at_zero_and_hold_the_model_back(random_model, data, label):
    """It is zero at θ0 (in bfloat16 too); a hundred times the strength ends nearer to θ0."""
    method, options = TRAINED[label]
    key = "beta" if "beta" in options else "strength"
    last = {}
    for factor in (1.0, 100.0):
        stronger = {**options, key: options[key] * factor}
        log = trained(run_config(method, LEARNING_RATE, stronger), random_model, data).log
        assert log[0]["penalty"] == pytest.approx(0.0, abs=1e-9)
        assert log[-1]["penalty"] > 0
        assert log[-1]["loss"] > log[-1]["penalty"]
        last[factor] = log[-1]["penalty"] / stronger[key]
    assert last[100.0] < last[1.0]
    mixed = trained(
        run_config(method, options=options, precision="fp32_master"), random_model, data
    )
    assert mixed.log[0]["penalty"] == pytest.approx(0.0, abs=1e-6)


def test_lora_leaves_the_base_alone_and_its_merged_weights_are_what_was_trained(
    random_model, data, tmp_path, reference
):
    """The saved folder, loaded as any model, has the adapted model's loss; θ0 never moved."""
    data.save(tmp_path / "train.npz")
    config = config_of("lora", precision="fp32")
    trainer = trained(config, random_model, data)
    base = load_model(random_model, torch.float32).state_dict()
    moved = dict(trainer.model.named_parameters())
    assert all("lora" in name for name in trainer.weights.state())
    for name, value in base.items():
        name = name if name in moved else name.replace(".weight", ".base_layer.weight")
        if name in moved:
            assert torch.equal(moved[name], value)
    train(config, random_model, tmp_path / "train.npz", tmp_path / "out" / "model")
    merged = load_model(tmp_path / "out" / "model", torch.float32)
    found = np.nanmean(reference_nll(merged, data))
    assert found == pytest.approx(np.nanmean(reference_nll(trainer.model, data)), rel=1e-4)
    assert found < np.nanmean(reference) - 0.01
    assert merged.state_dict().keys() == base.keys()


def test_wise_ft_of_a_run_is_the_interpolated_model(random_model, data, tmp_path):
    """α = ½ of a real run: every tensor is the mean of θ0's and the trained one."""
    run = trained(config_of("sft"), random_model, data)
    save_model(run.model, run.weights.state(), random_model, tmp_path / "trained")
    merge_folders(
        random_model,
        tmp_path / "trained",
        tmp_path / "half",
        lambda a, b: interpolate(a, b, alpha=0.5),
    )
    start = dict(load_model(random_model, torch.float32).named_parameters())
    half = dict(load_model(tmp_path / "half", torch.float32).named_parameters())
    for name, end in run.weights.state().items():
        torch.testing.assert_close(half[name].detach(), (start[name] + end).detach() / 2)


def test_a_thirteenth_method_is_one_file_and_one_line(random_model, data, monkeypatch):
    """A Method in the registry is all that the loop needs."""

    class HalfOptions(Options):
        pass

    method = Method("half", "made up", HalfOptions, weights=lambda batch, _: batch.nll * 0 + 0.5)
    monkeypatch.setitem(METHODS, "half", method)
    log = trained(run_config("half"), random_model, data).log
    assert [r["mean_weight"] for r in log] == [0.5] * 6
    assert log[0]["loss"] == pytest.approx(log[0]["nll"] / 2)


def test_eaft_sees_the_entropy_of_the_twenty_likeliest(random_model, data):
    """First logged mean weight against float64 from the full logits."""
    trainer = trained(config_of("eaft"), random_model, data)
    model = load_model(random_model, torch.float32)
    weights = []
    for row in trainer.schedule[0]:
        ids, mask = data.example(int(row))
        logits = model(torch.tensor(ids[None].astype("int64"))).logits[0].double()
        for t in np.flatnonzero(mask):
            p = logits[t - 1].sort(descending=True).values[:20].softmax(-1)
            weights.append(-(p * p.log()).sum().item() / np.log(20))
    assert trainer.log[0]["mean_weight"] == pytest.approx(np.mean(weights), rel=1e-5)


def test_psft_compares_with_the_model_of_the_last_refresh(random_model, data):
    """Weights are exactly one at a refresh and only there; a small clip drops tokens."""
    options = {"refresh_every": 4, "clip_high": 0.05}
    log = trained(run_config("psft", 3e-2, options), random_model, data).log
    assert [r["mean_weight"] == 1.0 for r in log] == [True, False, False, False, True, False]
    assert log[0]["share_clipped"] == 0.0 and max(r["share_clipped"] for r in log) > 0.1


def test_a_models_own_dropout_is_set_to_zero(random_model, data):
    """With dropout, splitting the batch would change the result; 0.5 would show clearly."""
    model = load_model(random_model, torch.float32)
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    trainer = Trainer(config_of("sft"), model, data, 0)
    trainer.run()
    assert trainer.log == trained(config_of("sft"), random_model, data).log


def test_a_step_that_teaches_nothing_is_said(random_model, data, reference, caplog):
    config = run_config("stm", options={"max_perplexity": 1.01}, epochs=1)
    trained(config, random_model, data, reference)
    assert "step 1 teaches nothing: every token has weight 0" in caplog.text
