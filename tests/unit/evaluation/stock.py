"""Our model class and stock HFLM on the same model, and how their answers are compared."""

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing

from sft_tradeoff.evaluation.lm import SharedPrefixLM

PAIRS = [
    ("Question: why?\nAnswer:", " because"),
    ("Question: why?\nAnswer:", " because of"),  # the one above begins it
    ("Question: why?\nAnswer:", " no"),
    ("Question: why?\nAnswer:", " "),
    ("Question: why?\nAnswer:", "!"),  # a single token
    ("", "unconditional text"),
    ("", "u"),
    ("one token", "!"),
    ("ends with spaces  ", "continues"),
    ("long " * 60, "tail"),  # 300 bytes: longer than the window of 128
    ("long " * 60, "t"),
    ("long " * 60, "another tail"),
    ("long " * 25, "crosses the window"),
    ("ünïcödé", " ☃"),
    ("Question: why?\nAnswer:", " because"),  # another document's, identical
]


OPTIONS = {"max_gen_toks": 12, "do_sample": False, "until": []}


PROMPTS = ["a", "Say something", "Somewhat longer than that", "long " * 60, "q"]


def instances(kind, arguments):
    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)
    ]


def loud(model, seed=0, spread=0.3):
    """Larger weights, so that attention matters and generations are not one token repeated."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, spread, generator=generator)
    return model.eval()


def lms(model, tokenizer, stock_batch=1, batch_size=3, batch_tokens=300, max_length=128):
    """Ours, and stock as the reference."""
    common = {"pretrained": model, "tokenizer": tokenizer, "backend": "causal"}
    ours = SharedPrefixLM(
        batch_size=batch_size, batch_tokens=batch_tokens, max_length=max_length, **common
    )
    # Stock would round log-probabilities to bfloat16 without the softmax type.
    stock = HFLM(batch_size=stock_batch, max_length=max_length, softmax_dtype="float32", **common)
    return ours, stock


def agree(ours, stock, pairs, tolerance):
    found = ours.loglikelihood(instances("loglikelihood", pairs))
    expected = stock.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    assert [f[0] for f in found] == pytest.approx([e[0] for e in expected], abs=tolerance)
    assert [f[1] for f in found] == [e[1] for e in expected]


def generations_agree(ours, stock, requests):
    found = ours.generate_until(instances("generate_until", requests))
    expected = stock.generate_until(instances("generate_until", requests), disable_tqdm=True)
    assert found == expected
    return found


def add_bos(tokenizer):
    """Let the tokenizer put BOS before every text, as Llama's does."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )


def naive(model, context, continuation, window):
    """One full forward of one request, all logits."""
    ids = (context + continuation)[-(window + 1) :]
    n = min(len(continuation), len(ids) - 1)
    with torch.inference_mode():
        table = model(torch.tensor([ids[:-1]])).logits[0, -n:].double().log_softmax(-1)
    labels = torch.tensor(ids[-n:])
    return float(table[torch.arange(n), labels].sum()), bool((table.argmax(-1) == labels).all())
