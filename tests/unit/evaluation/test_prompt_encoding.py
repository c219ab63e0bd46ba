"""BOS occurs once before every text and is never scored."""

import importlib
import sys
from unittest.mock import MagicMock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.model import CacheHook
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tokenizers.processors import TemplateProcessing

from sft_tradeoff.evaluation.lm import SharedPrefixLM
from sft_tradeoff.evaluation.load import load_lm
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.spec import EvaluationSpec
from tests.unit.evaluation.stock import OPTIONS, instances, lms, loud, naive

TEXTS = ["short", "x", "a much longer text, several windows long. " * 12]
BOS, EOS, PAD = 256, 257, 258
# What the tokenizer adds to every text, and what then comes before the first token of one.
ADDS = {
    "adds BOS": ("<s> $A", [BOS]),
    "adds BOS and EOS": ("<s> $A </s>", [BOS]),
    "adds EOS": ("$A </s>", [BOS]),
    "adds two marks": ("<pad> <s> $A", [PAD, BOS]),
    "has BOS": (None, [BOS]),
    "no BOS": (None, [EOS]),
}


def tokenizer_that(folder, how):
    tokenizer = load_tokenizer(folder)
    template, _ = ADDS[how]
    if template:
        marks = [("<s>", BOS), ("</s>", EOS), ("<pad>", PAD)]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=template, special_tokens=marks
        )
    if how == "no BOS":
        tokenizer.bos_token = None
    return tokenizer


@pytest.fixture(scope="module")
def model(random_model):
    return loud(load_model(random_model, torch.float32))


@pytest.fixture(scope="module", params=ADDS)
def how(request):
    return request.param


@pytest.fixture(scope="module")
def ours(random_model, model, how):
    return lms(model, tokenizer_that(random_model, how))[0]


def rolling(lm, *texts):
    return lm.loglikelihood_rolling(instances("loglikelihood_rolling", [(t,) for t in texts]))


def sum_over_windows(model, head, again, ids, window=128):
    """By the definition: every token once, windows of 128 inputs, each begun as texts begin."""
    n = window + 1 - len(head)
    total, _ = naive(model, head, ids[:n], window)
    while n < len(ids):
        n_free = window + 1 - len(again)
        end = min(len(ids), n + n_free - 1)
        total += naive(model, again + ids[end - n_free : n], ids[n:end], window)[0]
        n = end
    return total


def test_a_code_length_is_that_of_the_texts_own_tokens(model, ours, how):
    head = ADDS[how][1]
    again = head if how in ("adds BOS", "adds BOS and EOS", "adds two marks") else []
    tokens = [ours.tokenizer.convert_tokens_to_ids(list(text.replace(" ", "Ġ"))) for text in TEXTS]
    expected = [sum_over_windows(model, head, again, ids) for ids in tokens]
    assert rolling(ours, *TEXTS) == pytest.approx(expected, rel=1e-6, abs=1e-4)


def test_a_text_that_brings_its_own_bos_is_read_with_one(ours, how):
    """Its tokens are the same as without, and so is its score."""
    marks = "".join(ours.tokenizer.convert_ids_to_tokens(ADDS[how][1]))
    with_mark, without = rolling(ours, f"{marks}text", "text")
    assert with_mark == without


@pytest.mark.parametrize("add_bos_token", [True, False])
def test_lm_evals_setting_changes_no_code_length(random_model, model, ours, how, add_bos_token):
    """The first token follows a BOS in any case."""
    other = SharedPrefixLM(
        pretrained=model,
        tokenizer=tokenizer_that(random_model, how),
        backend="causal",
        batch_size=3,
        batch_tokens=300,
        max_length=128,
        add_bos_token=add_bos_token,
    )
    assert rolling(other, *TEXTS) == rolling(ours, *TEXTS)


def test_stock_scores_a_second_bos(random_model, model):
    """Why our number differs from stock's where the tokenizer adds BOS, and only there."""
    for how, differs in (("adds BOS", True), ("has BOS", False), ("no BOS", False)):
        ours, stock = lms(model, tokenizer_that(random_model, how))
        texts = instances("loglikelihood_rolling", [("short",)])
        found = ours.loglikelihood_rolling(texts)
        expected = stock.loglikelihood_rolling(texts, disable_tqdm=True)
        assert (found != pytest.approx(expected, abs=1e-2)) == differs


def test_prompts_begin_once_and_nothing_ends_them(ours, how):
    """Choices follow the whole context, and generation the whole prompt, not an EOS after it."""
    added = ADDS[how][1] if how not in ("adds EOS", "has BOS", "no BOS") else []
    context, continuation = ours._encode_pair("one", " two")
    ids = ours.tok_encode("one two", add_special_tokens=False)
    assert context == added + ids[:3] and continuation == ids[3:]
    assert ours.tok_encode("one two") == added + ids
    marks = "".join(ours.tokenizer.convert_ids_to_tokens(added))
    assert ours.tok_encode(f"{marks}one two") == added + ids
    batch, mask = ours.tok_batch_encode(["one two", "two"])
    assert batch[0].tolist() == added + ids
    assert batch[1, mask[1].bool()].tolist() == added + ids[4:]
    assert mask[1].tolist() == sorted(mask[1].tolist())  # padding on the left
    truncated, _ = ours.tok_batch_encode(["one two"], left_truncate_len=2)
    assert truncated.tolist() == [ids[-2:]]


def test_both_ways_of_generation_read_the_same_prompt(ours):
    """One beam is asked of stock's own loop."""
    prompts = ["Say something", "q"]
    ours_, stocks = (
        ours.generate_until(instances("generate_until", [(p, {**OPTIONS, **o}) for p in prompts]))
        for o in ({}, {"num_beams": 1})
    )
    assert ours_ == stocks


def test_windows_are_stocks_where_the_tokenizer_adds_nothing(random_model, model):
    ours, _ = lms(model, tokenizer_that(random_model, "has BOS"))
    for n in (1, 127, 128, 129, 255, 256, 257, 500):
        text = "".join(chr(33 + i % 90) for i in range(n))
        stocks = get_rolling_token_windows(ours.tok_encode(text), BOS, 128, 1)
        assert list(ours._windows(text)) == [make_disjoint_window(w) for w in stocks]


@given(n=st.integers(1, 400), window=st.integers(4, 150))
def test_windows_hold_every_token_once_and_as_many_before_it_as_fit(random_model, n, window):
    lm = object.__new__(SharedPrefixLM)
    lm.tokenizer, lm.add_bos_token = tokenizer_that(random_model, "adds two marks"), None
    lm._max_length, lm.custom_prefix_token_id, lm._rendered = window, None, set()
    text = "".join(chr(33 + i % 90) for i in range(n))
    windows = list(lm._windows(text))
    ids = lm.tok_encode(text, add_special_tokens=False)
    assert [token for _, scored in windows for token in scored] == ids
    assert all(context[:2] == [PAD, BOS] for context, _ in windows)
    assert all(len(context) + len(scored) == window + 1 for context, scored in windows[1:])
    assert all(len(context) > 2 for context, _ in windows[1:])
    assert len(windows[0][0]) + len(windows[0][1]) <= window + 1


@pytest.fixture
def vllm(random_model, monkeypatch):
    """Stock's class for vLLM without vLLM: what it would compute is written down."""
    module = "lm_eval.models.vllm_causallms"
    for name in ("", ".lora", ".lora.request", ".renderers", ".renderers.hf", ".tokenizers"):
        monkeypatch.setitem(sys.modules, f"vllm{name}", MagicMock())
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "1.0" if name == "vllm" else version(name)
    )
    stock = importlib.import_module(module).VLLM

    class WithoutEngine(stock):
        def __init__(self, pretrained, max_model_len, **_):
            self.tokenizer, self._max_length = tokenizer_that(pretrained, "adds BOS"), max_model_len
            self.add_bos_token = self.custom_prefix_token_id = None
            self.cache_hook, self.asked = CacheHook(None), []

        def _loglikelihood_tokens(self, requests, disable_tqdm=False):
            self.asked = requests
            return [(-1.0, False)] * len(requests)

    monkeypatch.setattr("sft_tradeoff.evaluation.load.find_spec", lambda name: name)
    monkeypatch.setattr(f"{module}.VLLM", WithoutEngine)
    yield load_lm(random_model, EvaluationSpec(backend="vllm", max_length=128))
    del sys.modules[module]


def test_vllm_scores_the_same_tokens(vllm):
    """It reads 127 tokens at once, since it always generates another: 126 of the text at first."""
    assert rolling(vllm, "short", "y" * 200) == [-1.0, -2.0]
    y = vllm.tok_encode("y", add_special_tokens=False)
    short = vllm.tok_encode("short", add_special_tokens=False)
    assert vllm.asked == [
        (None, [BOS], short),
        (None, [BOS], y * 126),
        (None, [BOS, *y * 52], y * 74),
    ]
    (a,) = vllm.tok_encode("a", add_special_tokens=False)
    assert vllm.tok_encode(("a", "<s>a", "")) == [[BOS, a], [BOS, a], [BOS]]
