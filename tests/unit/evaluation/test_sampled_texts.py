"""Texts of θ0: drawn from its whole distribution, ended as it ends them, refused if degenerate."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from sft_tradeoff import cli
from sft_tradeoff.evaluation.base_states import BaseStates, hidden_states, vocabulary
from sft_tradeoff.evaluation.load import load_lm
from sft_tradeoff.evaluation.sampled_texts import n_bytes, sample, text_facts
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.system.console import UserError
from tests.unit.evaluation.stock import loud


@pytest.fixture(scope="module")
def lm(random_model):
    found = load_lm(random_model, EvaluationSpec(dtype="float32", max_length=64))
    loud(found.model)
    return found


def test_first_tokens_follow_the_whole_distribution(lm):
    """χ² of 4,000 draws; a truncated distribution would never draw the rare half of the tokens."""
    n = 4000
    with torch.inference_mode():
        logits = lm.model(torch.tensor([lm.text_start])).logits[0, -1]
    expected = logits.double().softmax(-1).numpy() * n
    drawn = [text[0] for text in sample(lm, n, 1)]
    count = np.bincount(drawn, minlength=len(expected))
    order = np.argsort(-expected)
    groups = np.array_split(order, 20)
    e, c = (np.array([v[g].sum() for g in groups]) for v in (expected, count))
    kept = e > 5
    assert kept.sum() >= 5
    assert ((c - e)[kept] ** 2 / e[kept]).sum() < kept.sum() + 5 * np.sqrt(2 * kept.sum())


def test_the_same_texts_each_time(lm):
    assert sample(lm, 3, 8) == sample(lm, 3, 8)


def test_a_text_ends_with_the_first_end_token(monkeypatch):
    drawn = torch.tensor([[1, 7, 8, 2, 0], [1, 2, 0, 0, 0], [1, 7, 7, 7, 7]])
    model = SimpleNamespace(
        generation_config=GenerationConfig(eos_token_id=[2]), generate=lambda *_, **__: drawn
    )
    lm = SimpleNamespace(
        text_start=[1], model=model, tokenizer=SimpleNamespace(pad_token_id=0), device="cpu"
    )
    assert sample(lm, 3, 4) == [[7, 8, 2], [2], [7, 7, 7, 7]]


def test_bytes_are_those_of_the_text():
    tokenizer = byte_tokenizer()
    texts = ["aé", "xyz"]
    encoded = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    end = [tokenizer.eos_token_id]
    assert n_bytes(tokenizer, [encoded[0] + end, encoded[1]]) == [3, 3]


@pytest.mark.parametrize("same", ["a", ""])
def test_texts_that_are_all_the_same_are_refused(same):
    tokenizer = byte_tokenizer()
    text = [*tokenizer.encode(same, add_special_tokens=False), tokenizer.eos_token_id]
    n_empty = 3 if same == "" else 0
    message = rf"evaluation\.sampled_texts: of 3 texts .*, {n_empty} are empty and 1 different.* 0$"
    with pytest.raises(UserError, match=message):
        n_bytes(tokenizer, [text] * 3)


def test_mostly_empty_texts_are_refused():
    tokenizer = byte_tokenizer()
    texts = [tokenizer.encode(t, add_special_tokens=False) for t in ("", "", "ab")]
    with pytest.raises(UserError, match=r"2 are empty and 2 different"):
        n_bytes(tokenizer, texts)


def test_the_stage_writes_texts_with_the_states_that_predict_them(random_model, tmp_path):
    out = tmp_path / "texts.npz"
    cli.main(
        [
            *("sample-texts", "--base-model", str(random_model), "--texts", "5"),
            *("--tokens", "9", "--out", str(out)),
        ]
    )
    lm = load_lm(random_model, EvaluationSpec(dtype="float32", max_length=64))
    found = BaseStates.load(out, text_facts(random_model, vocabulary(lm.model), 5, 9))
    places, n_start = found.places, len(lm.text_start)
    lengths = np.diff(places.offsets)
    assert len(lengths) == 5 and lengths.max() <= n_start + 9
    assert np.bincount(places.text).tolist() == (lengths - n_start).tolist()
    for start in places.offsets[:-1]:
        assert places.ids[start : start + n_start].tolist() == lm.text_start
    assert np.array_equal(found.states, hidden_states(lm.model, places).numpy())
    assert (places.size > 0).any()
