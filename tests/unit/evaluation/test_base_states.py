"""θ0's hidden states: where they are taken, what they equal, and when a file is refused."""

import re

import numpy as np
import pytest
import torch

from sft_tradeoff.evaluation import base_states
from sft_tradeoff.evaluation.base_states import (
    BaseStates,
    BaseStatesMismatch,
    Places,
    hidden_states,
    states_facts,
    vocabulary,
)
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.two_part import split_model
from sft_tradeoff.system.files import DamagedFileError

TEXTS = [("a", [5, 6, 7, 8, 9], [1, 4]), ("b", [40, 50, 60], [0]), ("c", list(range(30)), [3, 29])]
PLACES = Places.of(TEXTS, [10, 20, 30])


def test_positions_are_those_of_their_texts():
    assert PLACES.ids[PLACES.position].tolist() == [6, 9, 40, 3, 29]
    assert PLACES.text.tolist() == [0, 0, 1, 2, 2]
    assert PLACES.name.tolist() == ["a", "b", "c"] and PLACES.size.tolist() == [10, 20, 30]


@pytest.mark.parametrize("batch_tokens", [1, 40, 1000])
def test_states_are_those_of_each_text_by_itself(random_model, monkeypatch, batch_tokens):
    """Whatever shares a batch: nothing that is padded, cut off or sorted shows."""
    monkeypatch.setattr(base_states, "BATCH_TOKENS", batch_tokens)
    model = load_model(random_model, torch.float32).eval()
    found = hidden_states(model, PLACES)
    with torch.inference_mode():
        own = [model.base_model(torch.tensor([ids])).last_hidden_state[0] for _, ids, _ in TEXTS]
    expected = torch.cat([own[i][position] for i, (*_, position) in enumerate(TEXTS)])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_model_in_two_parts_computes_in_float32(random_model):
    """Its parts keep 16 bits of each weight; bfloat16 products would keep 8 of each state."""
    model = load_model(random_model, torch.float32).eval()
    exact = hidden_states(model, PLACES)
    split_model(model)
    found = hidden_states(model, PLACES)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-4)
    with torch.inference_mode():
        rounded = model.base_model(torch.tensor([TEXTS[0][1]])).last_hidden_state[0, [1, 4]]
    assert (rounded.float() - exact[:2]).abs().max() > 5 * (found - exact).abs().max()


@pytest.fixture
def saved(random_model, tmp_path):
    facts = states_facts(random_model, 258, data_sha256="d" * 64, kl_positions=5)
    states = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    BaseStates(PLACES, states, facts).save(tmp_path / "states.npz")
    return tmp_path / "states.npz", states, facts


def test_a_file_holds_what_was_saved(saved):
    path, states, facts = saved
    found = BaseStates.load(path, facts)
    assert np.array_equal(found.states, states) and found.facts == facts
    for name, value in vars(PLACES).items():
        assert np.array_equal(getattr(found.places, name), value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_sha256", "0" * 64),
        ("data_sha256", "1" * 64),
        ("vocabulary", 259),
        ("kl_positions", 6),
        ("format_version", 0),
    ],
)
def test_what_belongs_to_something_else_is_refused_by_name(saved, name, value):
    path, _, facts = saved
    expected = f"{path}: {name} is {facts[name]}, the run has {value}; delete the file and run"
    with pytest.raises(BaseStatesMismatch, match=re.escape(expected)):
        BaseStates.load(path, facts | {name: value})


def test_a_damaged_file_is_refused(saved):
    path, _, facts = saved
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedFileError, match=r"not as it was written; delete it"):
        BaseStates.load(path, facts)


def test_a_file_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", ids=[1])
    with pytest.raises(BaseStatesMismatch, match=r"other\.npz cannot be read .*; delete it"):
        BaseStates.load(tmp_path / "other.npz", {})


def test_the_vocabulary_is_that_of_the_head_in_either_form(random_model):
    model = load_model(random_model, torch.float32)
    expected = model.get_output_embeddings().weight.shape[0]
    assert vocabulary(model) == expected
    split_model(model)
    assert vocabulary(model) == expected
