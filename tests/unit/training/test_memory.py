"""Memory estimates: counts by hand, and what torch really keeps.

The random model has H = 64, I = 128, V = 259, 2 layers, 4 heads and 2 key heads of 16:
embedding 259·64 = 16,576; a layer 64·64 (query) + 2·64·32 (key, value) + 64·64 (output)
+ 3·64·128 (feed-forward) + 2·64 (norms) = 36,992; the last norm 64; in all 90,624.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig

from sft_tradeoff import cli
from sft_tradeoff.models.folder import ModelError
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.study.runs import ValidationConfig
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.training.lean_layers import keep_less
from sft_tradeoff.training.memory import BASE, estimate, layer_bytes_per_token, model_size
from tests.unit.training.runs import run_config

N = 90_624  # parameters of the random model


def llama(**changes):
    """The random model's architecture, or a variant of it."""
    shape = {
        "vocab_size": 259,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "pad_token_id": None,
    }
    return LlamaConfig(**(shape | changes))


def billion():
    """About 1.1 billion parameters, 16 layers; never allocated."""
    return llama(
        vocab_size=32000,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=16,
        num_key_value_heads=16,
    )


def test_parameters_are_counted_without_weights(random_model, tmp_path):
    """The folder's config alone is enough; see the module's docstring for the counts."""
    (tmp_path / "config.json").write_bytes((random_model / "config.json").read_bytes())
    found = estimate(tmp_path, run_config(), 10)
    assert (found.n_parameters, found.n_trained) == (N, N)


def test_untied_head_counts_twice():
    """A separate head has another 259·64 = 16,576 parameters, outside the layers."""
    size = model_size(llama(tie_word_embeddings=False))
    assert size.total == size.trained == N + 16_576
    assert size.layer == 36_992
    assert size.outside == 2 * 16_576 + 64
    assert size.largest == 16_576


def test_adapters():
    """Rank r: r·(in + out) per product: 128 + 96 + 96 + 128 + 3·192 = 1,024 r a layer."""
    found = estimate(llama(), run_config("lora", precision="fp32"), 10)
    n_adapter = 2 * 1024 * 64  # two layers, rank 64
    assert found.n_trained == n_adapter
    assert found.n_parameters == N + n_adapter
    assert found.weights == 4 * (N + n_adapter)
    assert found.optimizer == 8 * n_adapter
    assert found.loading == 4 * N


def test_adapters_leave_the_feed_forward_as_it_is():
    """Four values of I instead of two: 2·2·128 bytes more per token and layer."""
    with_adapters, without = (estimate(llama(), run_config(m), 100) for m in ("lora", "sft"))
    assert with_adapters.activations - without.activations == 800 * 3 * 512


def test_a_gpu_keeps_what_the_models_own_code_keeps():
    """2·4·64 more for two norms (float32 input and normalized value), and 2·2·128 for the rest."""
    on_gpu, on_cpu = (estimate(llama(), run_config(), 100, on_gpu=gpu) for gpu in (True, False))
    assert on_gpu.activations - on_cpu.activations == 800 * 3 * (512 + 512)


def test_adapters_on_a_gpu():
    """θ0's 4 bytes a weight, before the cast, exceed what a short run needs in bfloat16."""
    config = run_config("lora", micro_batch_size=1, gradient_checkpointing=True)
    found = estimate(billion(), config, 16, on_gpu=True)
    assert found.total == 4 * 1_139_345_408 + BASE
    assert found.compute_copy == 2 * found.n_parameters
    long = estimate(billion(), run_config("lora"), 1024, on_gpu=True)
    assert long.loading == 0 and long.total > found.total


def test_every_part_of_a_float32_master_run():
    """8 sequences of 100 tokens in bfloat16.

    A layer keeps per token: norms 2·(64·2·2 + 4) = 520; attention 2·2·16·(4 + 2) + 4·4 = 400;
    feed-forward 2·2·128 = 512; in all 1,432. Two layers and one layer's gradients: 3·1,432 for
    each of 800 tokens. Logits: three copies of 512 tokens (of 800) in float32.
    """
    found = estimate(llama(), run_config(), 100)
    assert found.weights == 4 * N
    assert found.compute_copy == 2 * N
    assert found.gradients == 4 * N + 2 * 2 * 16_576
    assert found.optimizer == 8 * N
    assert found.reference == found.loading == 0
    assert found.activations == 800 * 3 * 1432
    assert found.logits == 3 * 4 * 512 * 259
    assert found.total == 18 * N + 66_304 + 3_436_800 + 1_591_296 + BASE


def test_a_model_that_scores_epochs_takes_the_place_of_what_training_freed():
    """4 bytes a weight; a token of a batch 2 (k, v) · 2 bytes · 2 layers · 2 heads of 16 = 256."""
    for batch_tokens, more in ((50, 0), (4000, 4 * N + 4000 * 256)):
        validation = ValidationConfig(evaluation=EvaluationSpec(batch_tokens=batch_tokens))
        config = run_config().model_copy(update={"validation": validation})
        plain, found = (estimate(llama(), c, 1) for c in (run_config(), config))
        free = found.gradients + found.activations + found.logits
        assert found.scoring == found.total - plain.total == max(0, more - free)
    assert found.scoring > 0


def test_types_of_the_other_precisions():
    """Float32: 4 + 4 + 8 bytes a weight, no copy; pure bfloat16: half, moments included."""
    single = estimate(llama(), run_config(precision="fp32"), 100)
    assert (single.weights, single.compute_copy, single.optimizer) == (4 * N, 0, 8 * N)
    half = estimate(llama(), run_config(precision="bf16_pure"), 100)
    assert (half.weights, half.compute_copy, half.optimizer) == (2 * N, 0, 4 * N)
    assert half.gradients == 2 * N + 2 * 2 * 16_576


def test_checkpointing_keeps_the_layers_inputs():
    """Per token two layers' inputs (2·64 bytes each), one layer's activations and gradients."""
    found = estimate(llama(), run_config(gradient_checkpointing=True), 100)
    assert found.activations == 800 * (2 * 128 + 2 * 1432)


@pytest.mark.parametrize(
    ("method", "reference", "n_copies"),
    [("kl_reg", 2 * N, 5), ("asft", 2 * N, 5), ("l2_reg", 4 * N, 3)],
)
def test_methods_that_keep_the_initial_model(method, reference, n_copies):
    """θ0's model has the compute dtype, and its weights for the L2 norm that of the masters."""
    found = estimate(llama(), run_config(method), 100)
    assert found.reference == reference
    assert found.logits == n_copies * 4 * 512 * 259


def test_shards():
    """Halves the shards; two layers and the parameters outside are gathered, with gradients."""
    whole, half = (estimate(llama(), run_config(), 100, n_shards=n) for n in (1, 2))
    gathered = 2 * (16_576 + 64 + 2 * 36_992)
    assert half.weights == whole.weights // 2
    assert half.optimizer == whole.optimizer // 2
    assert half.compute_copy == gathered
    assert half.gradients == 2 * N + gathered
    # 8 processes take one sequence of the 8 each, whatever micro_batch_size says
    assert estimate(llama(), run_config(), 100, n_shards=8).activations == whole.activations // 8


@pytest.mark.parametrize("prepare", [keep_less, lambda model: model])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_keeps_what_torch_keeps(dtype, prepare):
    """Bytes of the tensors that autograd saves: those of three layers minus those of two."""

    def saved(n_layers):
        with torch.random.fork_rng(devices=[]):
            model = AutoModelForCausalLM.from_config(llama(num_hidden_layers=n_layers))
        model = prepare(model).to(dtype)
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        found = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        ids = torch.zeros((2, 64), dtype=torch.int64)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        del states
        return sum(found.values())

    per_token = (saved(3) - saved(2)) / (2 * 64)
    lean = frozenset({"norm", "feed_forward"} if prepare is keep_less else ())
    assert layer_bytes_per_token(llama(), dtype.itemsize, lean) == pytest.approx(per_token, rel=0.1)


@settings(max_examples=25)
@given(
    size=st.sampled_from([1, 2, 4]),
    longest=st.integers(1, 4000),
    more=st.integers(1, 500),
    precision=st.sampled_from(["fp32", "fp32_master", "bf16_pure"]),
    checkpointing=st.booleans(),
)
def test_longer_and_larger_batches_need_more(size, longest, more, precision, checkpointing):
    def total(size, longest):
        config = run_config(
            micro_batch_size=size, precision=precision, gradient_checkpointing=checkpointing
        )
        return estimate(llama(), config, longest).total

    assert total(size, longest) < total(size, longest + more)
    assert total(size, longest) < total(2 * size, longest)


def test_counting_leaves_the_random_state_alone():
    """Adapters' initial values come from the global generator, which was seeded before."""
    before = torch.get_rng_state()
    estimate(llama(), run_config("lora"), 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_unreadable_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(ModelError, match=str(tmp_path)):
        estimate(tmp_path, run_config(), 10)


def test_table_lists_the_parts_largest_first():
    """32,000·2048 + 16·(4·2048² + 3·2048·8192 + 2·2048) + 2048 = 1,139,345,408 parameters."""
    table = str(estimate(billion(), run_config(micro_batch_size=1), 100)).splitlines()
    assert "1139.3 M of 1139.3 M parameters" in table[0]
    assert table[1].split() == ["optimizer", "8.49", "GiB"]  # 8 · 1,139,345,408 / 2³⁰
    assert not any("reference" in row or "loading" in row for row in table)
    assert table[-1].split()[:3] == ["at", "the", "peak"]


def test_command_line(random_model, tmp_path, monkeypatch, capsys):
    """The longest of two examples counts: 8 sequences of 7 tokens."""
    ids = np.zeros(10, dtype=np.int32)
    TokenizedData(ids, ids == 0, np.array([0, 3, 10]), np.zeros(2, bool), np.arange(2)).save(
        tmp_path / "data.npz"
    )
    config = run_config()
    command = ["memory", "--config", config.model_dump_json(), "--base-model", str(random_model)]
    cli.main([*command, "--data", str(tmp_path / "data.npz")])
    assert capsys.readouterr().out == f"{estimate(random_model, config, 7)}\n"
