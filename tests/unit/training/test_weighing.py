"""Token weights are computed once per step, then used and logged; parameter penalties in pieces."""

import dataclasses

import pytest
import torch

from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training import weighing
from sft_tradeoff.training.weighing import pull_parameters
from tests.unit.training.test_loop import run_config, trained


@pytest.fixture
def data(jsonl, examples):
    return tokenize_file(byte_tokenizer(), jsonl(examples), 200)


@pytest.mark.parametrize(
    ("method", "size", "n_calls"),
    [("talr", 8, 1), ("talr", 2, 1), ("dft", 8, 1), ("dft", 2, 4)],
)
def test_a_step_computes_its_weights_once(random_model, data, monkeypatch, method, size, n_calls):
    """TALR for the global batch, even in four micro-batches; DFT for each micro-batch."""
    original, seen = METHODS[method].weights, []

    def counted(batch, options):
        seen.append(len(batch.nll))
        return original(batch, options)

    monkeypatch.setitem(
        METHODS, method, dataclasses.replace(METHODS[method], weights=counted, diagnostics=None)
    )
    trainer = trained(run_config(method, micro_batch_size=size), random_model, data)
    assert len(seen) == n_calls * len(trainer.log)
    assert sum(seen) == sum(trainer._n_tokens(step) for step in range(len(trainer.log)))


@pytest.mark.parametrize("size", [8, 2])
def test_the_weights_that_are_logged_are_those_that_are_used(random_model, data, monkeypatch, size):
    """Weights that differ from call to call: a second computation would log others."""
    calls, used = iter(range(1, 1000)), []

    def weights(batch, options):
        found = torch.full_like(batch.nll, float(next(calls)))
        used.append(found)
        return found

    monkeypatch.setitem(METHODS, "dft", dataclasses.replace(METHODS["dft"], weights=weights))
    trainer = trained(run_config("dft", micro_batch_size=size), random_model, data)
    per_step = 8 // size
    for step, record in enumerate(trainer.log):
        expected = torch.cat(used[step * per_step : (step + 1) * per_step]).mean().item()
        assert record["mean_weight"] == pytest.approx(expected)


def test_a_parameter_penalty_is_added_in_pieces(monkeypatch):
    """½‖θ − θ0‖² of (1, 2, 3, 4, 5) from zero is 27.5 and pulls by θ, in pieces of two."""
    monkeypatch.setattr(weighing, "PIECE", 2)
    master = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    master.grad = torch.ones_like(master)
    sizes = []

    def penalty(parameter, initial):
        sizes.append(len(parameter))
        drift = parameter - initial
        return 0.5 * drift.dot(drift), drift

    total = pull_parameters([master], [torch.zeros_like(master)], penalty)
    assert (total.item(), sizes) == (27.5, [2, 2, 1])
    assert master.grad.tolist() == [[2.0, 3.0, 4.0, 5.0, 6.0]]
