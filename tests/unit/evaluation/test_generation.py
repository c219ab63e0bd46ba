"""Greedy decoding in changing batches gives what each prompt gives alone."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
)

from sft_tradeoff.evaluation import generation
from sft_tradeoff.evaluation.generation import greedy_decode
from tests.unit.models.conftest import SIZES


@pytest.fixture(scope="module")
def model():
    generator = torch.Generator().manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.3, generator=generator)
    return model


def finished(tokens):
    """An answer ends with a token below 6, or after 1 to 9 tokens: rows end at different times."""
    return tokens[-1] < 6 or len(tokens) > tokens[0] % 9


def naive(model, prompt):
    answer = []
    while not answer or not finished(answer):
        with torch.inference_mode():
            answer.append(int(model(torch.tensor([prompt + answer])).logits[0, -1].argmax()))
    return answer


def spy_on(model, monkeypatch):
    """Return a list that fills with the shapes of what the model reads."""
    shapes = []
    forward = model.base_model.forward

    def spy(input_ids, **keywords):
        shapes.append(tuple(input_ids.shape))
        return forward(input_ids=input_ids, **keywords)

    monkeypatch.setattr(model.base_model, "forward", spy)
    return shapes


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompts=st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=12), min_size=1, max_size=9),
    batch_size=st.integers(1, 6),
    batch_tokens=st.sampled_from([1, 20, 1000]),
)
def test_batches_do_not_change_answers(model, prompts, batch_size, batch_tokens):
    found = greedy_decode(
        model, prompts, finished=finished, batch_size=batch_size, batch_tokens=batch_tokens
    )
    assert found == [naive(model, prompt) for prompt in prompts]


def test_no_prompts_need_no_model():
    assert greedy_decode(None, [], finished=finished, batch_size=2, batch_tokens=9) == []


def test_finished_rows_leave_and_waiting_ones_join(model, monkeypatch):
    """Five prompts on two rows, by hand; the i-th of these ends after n[i] = 4, 1, 2, 1, 1 tokens.

    Rows: 0 1 are read (1 ends), 2 is read while 0 takes its 2nd token, both take their next (2
    ends), 3 is read with 0's 4th (both end), 4 is read alone.
    """
    n, asked = [4, 1, 2, 1, 1], []
    prompts = [[10] * (9 - i) for i in range(5)]
    shapes, advanced = spy_on(model, monkeypatch), []

    def ends(tokens):
        if len(tokens) == 1:  # a prompt's first token: prompts start in order
            asked.append(tokens)
        (row,) = [i for i, known in enumerate(asked) if known is tokens]
        return len(tokens) == n[row]

    answers = greedy_decode(
        model, prompts, finished=ends, batch_size=2, batch_tokens=100, advance=advanced.append
    )
    assert [len(answer) for answer in answers] == n
    assert shapes == [(2, 16), (1, 1), (1, 8), (2, 1), (1, 1), (1, 8), (1, 8)]
    assert advanced == [1, 1, 2, 1]


def test_prompts_are_read_within_the_budget(model, monkeypatch):
    """Lengths 9, 5, 4, 4 are 16, 8, 8, 8 columns; 16 tokens a pass: 9, then 5 and 4, then 4."""
    shapes = spy_on(model, monkeypatch)
    prompts = [[7] * n for n in (4, 9, 5, 4)]
    greedy_decode(model, prompts, finished=lambda t: True, batch_size=8, batch_tokens=16)
    assert shapes == [(1, 16), (2, 8), (1, 8)]


def test_padding_leaves_with_the_row_that_needed_it(model, monkeypatch):
    """Prompts of 9 (padded to 16) and 3; the long one ends first, the other's cache holds 3 + 1."""
    widths = []
    forward = model.base_model.forward

    def spy(attention_mask, **keywords):
        widths.append(attention_mask.shape[1])
        return forward(attention_mask=attention_mask, **keywords)

    monkeypatch.setattr(model.base_model, "forward", spy)
    asked = []

    def ends(tokens):
        asked.append(tokens)  # the long one first
        return tokens is asked[0] or len(tokens) == 2

    greedy_decode(model, [[5] * 9, [6] * 3], finished=ends, batch_size=2, batch_tokens=99)
    assert widths == [16, 4]


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prefix=st.lists(st.integers(0, 39), min_size=1, max_size=9),
    rests=st.lists(st.lists(st.integers(0, 39), max_size=6), min_size=2, max_size=6),
)
def test_a_shared_prefix_does_not_change_answers(model, prefix, rests):
    prompts = [prefix + rest for rest in rests]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "WORTH_SHARING", 1)
        shapes = spy_on(model, patch)
        found = greedy_decode(model, prompts, finished=finished, batch_size=6, batch_tokens=1000)
    assert found == [naive(model, prompt) for prompt in prompts]
    shared = min(map(len, prompts)) > 1
    assert (shapes[0][0] == 1) == shared


def test_a_shared_prefix_is_computed_once_if_it_pays(model, monkeypatch):
    """Two prompts that share 300 tokens and differ in one; 200 shared tokens are less than 256."""
    shapes = spy_on(model, monkeypatch)
    for n_equal in (300, 200):
        prompts = [[3] * n_equal + [own] for own in (4, 5)]
        greedy_decode(model, prompts, finished=lambda t: True, batch_size=2, batch_tokens=999)
    assert shapes == [(1, 300), (2, 8), (2, 208)]
