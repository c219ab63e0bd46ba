"""Which weights a backend computes with, and how it computes."""

import pandas as pd
import pytest
import torch

from sft_tradeoff.evaluation.load import dtype_of, load_lm, weights_seen
from sft_tradeoff.models.two_part import TwoPartLinear
from sft_tradeoff.study.spec import EvaluationSpec
from tests.unit.evaluation.material import run


@pytest.mark.parametrize(
    ("backend", "dtype", "weights"),
    [
        ("hf", "bfloat16", "as trained"),
        ("hf", "float32", "as trained"),
        ("vllm", "bfloat16", "as shipped"),
        ("vllm", "float32", "as trained"),
    ],
)
def test_only_vllm_in_bfloat16_rounds_the_weights(backend, dtype, weights):
    assert weights_seen(EvaluationSpec(backend=backend, dtype=dtype)) == weights


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_dtype_is_that_of_the_products(random_model, dtype):
    """The random weights are float32 numbers, so they need two parts."""
    spec = EvaluationSpec(dtype=dtype)
    lm = load_lm(random_model, spec)
    model = lm.model
    assert dtype_of(lm, spec) == dtype
    layers = [module for module in model.modules() if isinstance(module, TwoPartLinear)]
    assert bool(layers) == (dtype == "bfloat16")
    assert all(layer.parts.shape[1] == 2 * layer.in_features for layer in layers)
    assert model.get_input_embeddings()(torch.tensor([1])).dtype == torch.float32


def test_float32_where_bfloat16_is_slow(random_model, slow_bfloat16):
    spec = EvaluationSpec(dtype="bfloat16")
    lm = load_lm(random_model, spec)
    assert dtype_of(lm, spec) == "float32" and weights_seen(spec) == "as trained"
    assert not any(isinstance(module, TwoPartLinear) for module in lm.model.modules())
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.float32}


def test_a_model_against_itself_is_exactly_zero(material, random_model):
    """And against float32 it is bfloat16's rounding of activations."""
    tasks = {"piqa": 4, "code_length_code": None}
    report, first = run(material, random_model, tasks, dtype="bfloat16")
    _, again = run(material, random_model, tasks, dtype="bfloat16")
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert report["eval_info"]["weights"] == "as trained"
    _, exact = run(material, random_model, tasks, dtype="float32")
    smooth = first["metric"].isin(["nll", "bits_per_byte"])
    found, wanted = (f.loc[smooth, "value"].to_numpy() for f in (first, exact))
    assert found == pytest.approx(wanted, rel=2e-3)
    assert (found != wanted).any()
