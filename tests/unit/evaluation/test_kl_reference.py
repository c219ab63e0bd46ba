"""Which positions of prompts are sampled, and the stage that computes θ0's states there."""

import numpy as np
import pytest
import torch

from sft_tradeoff import cli
from sft_tradeoff.evaluation.base_states import BaseStates, hidden_states, vocabulary
from sft_tradeoff.evaluation.kl_reference import PER_EXAMPLE, prompt_facts, prompt_places
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenized import TokenizedData, TokenizedExample


def data_of(*prompts):
    return TokenizedData.from_examples(
        TokenizedExample(str(i), [*p, 1, 2], [False] * len(p) + [True] * 2, False)
        for i, p in enumerate(prompts)
    )


def prompts(n, shared=10, own=40):
    rng = np.random.default_rng(0)
    return [[7] * shared + rng.integers(10, 99, own).tolist() for _ in range(n)]


def test_all_positions_are_of_prompts_after_the_shared_prefix():
    data = data_of(*prompts(50))
    places = prompt_places(data, 10_000)
    column = places.position - places.offsets[places.text]
    # The last token of a prompt predicts the response. Two prompts may go on with the same token.
    assert column.min() in (10, 11) and column.max() == 49
    assert len(places.position) == 50 * 40
    for example, ids in zip(places.name, np.split(places.ids, places.offsets[1:-1]), strict=True):
        assert ids.tolist() == data.example(int(example))[0][: len(ids)].tolist()


@pytest.mark.parametrize("n_positions", [1, PER_EXAMPLE, 100, 256])
def test_as_many_positions_as_asked_for_in_few_examples(n_positions):
    places = prompt_places(data_of(*prompts(50)), n_positions)
    assert len(places.position) == n_positions == len(set(places.position.tolist()))
    assert len(places.name) == max(min(2, n_positions), -(-n_positions // PER_EXAMPLE))
    per_example = np.bincount(places.text)
    assert per_example.max() - per_example.min() <= 1


def test_few_examples_get_more_positions_each():
    assert np.bincount(prompt_places(data_of(*prompts(4)), 100).text).tolist() == [25] * 4


def test_the_sample_is_the_same_each_time_and_spread():
    data = data_of(*prompts(50))
    first, again = (prompt_places(data, 256) for _ in range(2))
    assert np.array_equal(first.position, again.position)
    columns = first.position - first.offsets[first.text]
    assert abs(columns.mean() - 29.5) < 3  # uniform over 10 to 49


def test_prompts_that_start_as_another_ends():
    """The shorter one has no position of its own."""
    places = prompt_places(data_of([5, 6], [5, 6, 7, 8]), 16)
    assert places.name.tolist() == ["1"]
    assert (places.position - places.offsets[places.text]).tolist() == [2, 3]


@pytest.mark.parametrize("n", [1, 2])
def test_equal_prompts_are_left_their_last_position(n):
    places = prompt_places(data_of(*[[5, 6]] * n), 16)
    assert (places.position - places.offsets[places.text]).tolist() == [1] * n


def test_the_stage_writes_the_states_of_its_positions(material, random_model):
    tokens, out = material / "test.npz", material / "states.npz"
    cli.main(
        [
            *("kl-reference", "--base-model", str(random_model), "--tokens", str(tokens)),
            *("--positions", "30", "--out", str(out)),
        ]
    )
    model = load_model(random_model, torch.float32).eval()
    found = BaseStates.load(out, prompt_facts(random_model, vocabulary(model), tokens, 30))
    assert len(found.places.position) == 30
    assert np.array_equal(found.states, hidden_states(model, found.places).numpy())
