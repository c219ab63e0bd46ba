"""Scores as shipped are those of the rounded weights; nothing is computed where none changes."""

import pandas as pd
import pytest
import torch

from sft_tradeoff.models.load import is_on_bfloat16_grid, load_model, save_model
from tests.unit.evaluation.material import run

PLAIN = ["nll", "bits_per_byte"]
TASKS = {"piqa": 2, "code_length_code": None}


def with_weights(source, folder, change):
    """Save a model with other weights, as training does."""
    model = load_model(source, torch.float32)
    weights = {name: change(w.detach().clone()) for name, w in model.named_parameters()}
    save_model(model, weights, source, folder)
    return folder


@pytest.fixture(scope="module")
def rounded(random_model, tmp_path_factory):
    """The random model on the grid of bfloat16, stored as float32."""
    folder = tmp_path_factory.mktemp("rounded") / "model"
    return with_weights(random_model, folder, lambda w: w.bfloat16().float())


@pytest.fixture(scope="module")
def nudged(rounded, tmp_path_factory):
    """Weights that rounding changes: a third of the way to the next number of bfloat16."""
    folder = tmp_path_factory.mktemp("nudged") / "model"
    return with_weights(rounded, folder, lambda w: w * (1 + 2**-9 + 2**-10))


def by_metric(items):
    keys = ["benchmark", "item"]
    return {metric: rows.set_index(keys) for metric, rows in items.groupby("metric")}


def test_the_grid_is_recognized(rounded, nudged):
    assert is_on_bfloat16_grid(rounded) and not is_on_bfloat16_grid(nudged)


def test_the_grid_is_that_of_every_weight(rounded, tmp_path):
    """One number of one tensor is enough; bfloat16 itself needs no look."""

    def nudge(weight):
        if weight.ndim == 1:
            weight[-1] += 1e-4
        return weight

    assert not is_on_bfloat16_grid(with_weights(rounded, tmp_path / "one", nudge))
    assert is_on_bfloat16_grid(with_weights(rounded, tmp_path / "half", lambda w: w.bfloat16()))


def test_weights_on_the_grid_keep_their_scores(material, rounded):
    found = by_metric(run(material, rounded, TASKS)[1])
    for metric in PLAIN:
        pd.testing.assert_frame_equal(
            found[metric][["value", "size"]], found[f"{metric}_shipped"][["value", "size"]]
        )


def test_as_shipped_is_the_score_of_the_rounded_weights(material, nudged, tmp_path):
    """In float32, where only the weights differ: against a model saved with rounded weights."""
    shipped = with_weights(nudged, tmp_path / "shipped", lambda w: w.bfloat16().float())
    of_nudged = by_metric(run(material, nudged, TASKS)[1])
    of_shipped = by_metric(run(material, shipped, TASKS)[1])
    for metric in PLAIN:
        expected = of_shipped[metric]
        found = of_nudged[f"{metric}_shipped"].loc[expected.index]
        assert found["size"].tolist() == expected["size"].tolist()
        assert found["value"].tolist() == pytest.approx(expected["value"].tolist(), rel=1e-5)
        plain = of_nudged[metric].loc[expected.index]
        assert (found["value"] - plain["value"]).abs().max() > 1e-3


def test_as_shipped_can_be_left_out(material, nudged):
    _, items = run(material, nudged, TASKS, as_shipped=False)
    assert not items["metric"].str.endswith("_shipped").any()


def test_accuracies_are_not_scored_twice(material, nudged):
    _, items = run(material, nudged, TASKS)
    shipped = {m for m in items["metric"] if m.endswith("_shipped")}
    assert shipped == {"nll_shipped", "bits_per_byte_shipped"}
    assert set(items.loc[items["metric"] == "bits_per_byte_shipped", "benchmark"]) == {
        "code_length_code"
    }


def test_evaluating_twice_gives_the_same_bits(material, nudged):
    """So θ0 against θ0 is 0 exactly, in bfloat16 too."""
    first, second = (run(material, nudged, TASKS, dtype="bfloat16")[1] for _ in range(2))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert torch.isfinite(torch.tensor(first["value"].to_numpy())).all()
