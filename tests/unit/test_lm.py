"""The lm-eval class gives stock HFLM's answers: log-likelihoods, rolling sums, generations."""

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from sft_tradeoff.lm import load_lm
from sft_tradeoff.models import load_model, load_tokenizer
from sft_tradeoff.specs import EvaluationSpec

PAIRS = [
    ("Question: why?\nAnswer:", " because"),
    ("Question: why?\nAnswer:", " no"),
    ("", "unconditional text"),
    ("one token", "!"),
    ("ends with spaces  ", "continues"),
    ("long " * 60, "tail"),  # 300 bytes: longer than the window of 128
    ("ünïcödé", " ☃"),
]


def instances(kind, arguments):
    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)
    ]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def both(request, random_model):
    spec = EvaluationSpec(dtype=request.param, max_length=128, batch_tokens=300, batch_size=4)
    stock = HFLM(
        pretrained=load_model(random_model, getattr(torch, request.param)).eval(),
        tokenizer=load_tokenizer(random_model),
        backend="causal",
        batch_size=1,
        max_length=128,
        softmax_dtype="float32",  # stock would round log-probabilities to bfloat16
    )
    return load_lm(random_model, spec), stock, 1e-4 if request.param == "float32" else 5e-2


def test_loglikelihood_agrees_with_stock(both):
    ours, stock, tolerance = both
    found = ours.loglikelihood(instances("loglikelihood", PAIRS))
    expected = stock.loglikelihood(instances("loglikelihood", PAIRS), disable_tqdm=True)
    assert [f[0] for f in found] == pytest.approx([e[0] for e in expected], abs=tolerance)
    assert [f[1] for f in found] == [e[1] for e in expected]


def test_rolling_agrees_with_stock(both):
    ours, stock, tolerance = both
    texts = [("short",), ("a much longer text, several windows long. " * 12,), ("x",)]
    found = ours.loglikelihood_rolling(instances("loglikelihood_rolling", texts))
    expected = stock.loglikelihood_rolling(
        instances("loglikelihood_rolling", texts), disable_tqdm=True
    )
    assert found == pytest.approx(expected, abs=10 * tolerance)


@pytest.mark.parametrize("both", ["float32"], indirect=True)
def test_greedy_generations_agree_with_stock(both):
    ours, stock, _ = both
    options = {"max_gen_toks": 12, "do_sample": False, "until": []}
    requests = [("Say something", options), ("And something much longer than that", options)]
    found = ours.generate_until(instances("generate_until", requests))
    expected = stock.generate_until(instances("generate_until", requests), disable_tqdm=True)
    assert found == expected


def test_greedy_flag_is_true_for_the_argmax_continuation(both):
    """Stock's own greedy choice of one byte must be flagged, any other byte not."""
    ours, _, _ = both
    context = ours.tok_encode("Once upon a time")
    with torch.inference_mode():
        best = int(ours.model(torch.tensor([context])).logits[0, -1].argmax())
    flags = ours._loglikelihood_tokens(
        [(None, context, [best]), (None, context, [(best + 1) % 256])]
    )
    assert [flag for _, flag in flags] == [True, False]


@pytest.mark.pretrained
def test_pretrained_model_agrees_with_stock(pretrained_model):
    """SmolLM2 in bfloat16: per-choice log-likelihoods within the noise of bfloat16 batching."""
    spec = EvaluationSpec(batch_tokens=512)
    ours = load_lm(pretrained_model, spec)
    stock = HFLM(
        pretrained=load_model(pretrained_model, torch.float32).eval(),
        tokenizer=load_tokenizer(pretrained_model), backend="causal", batch_size=1,
    )  # fmt: skip
    pairs = [("Question: Where is Paris?\nAnswer:", c) for c in (" France", " a banana", " 7")]
    found = ours.loglikelihood(instances("loglikelihood", pairs))
    expected = stock.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    assert [f[0] for f in found] == pytest.approx([e[0] for e in expected], abs=0.2)
    assert np.argmax([f[0] for f in found]) == 0
