"""Runs and scores of a study, as claims see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.analysis.claims.base import Untested
from sft_tradeoff.analysis.claims.results import clustered, read_results
from sft_tradeoff.analysis.run_records import Items
from tests.unit.analysis.claims.simulated import LARGE, SMALL, Run, rows_of, study, written

ARMS = {"sft": {LARGE: Run(0.5), SMALL: Run(0.6)}, "talr": {SMALL: Run(0.6)}}
KEY = ("d", "accuracy")


def test_arms_and_their_rates_in_order() -> None:
    sft, talr = study(ARMS, options={"talr": {"tau": "median"}}).arms
    assert list(sft.rates) == [SMALL, LARGE] and list(sft.rates[SMALL]) == [0, 1, 2]
    assert talr.options == {"tau": "median"} and talr.place == ("m", "d", "talr")


def test_what_is_read_from_files(tmp_path: Path) -> None:
    made = written(study(ARMS), tmp_path / "runs")
    train = tmp_path / "runs/m.d.sft.0.0001.0/train.json"
    for name, n in (("esci", 4), ("medcalc", 0)):
        config = {"domain": {"name": name}, "method": {"options": {"x": 1}}}
        train.write_text(json.dumps({"run_info": {"config": config}}))
        found = read_results(made.runs, tmp_path / "runs")
        assert found.arms[0].domain_config["n_labels"] == n
        assert found.arms[0].options == {"x": 1}
    assert found.score(found.arms[0], SMALL, KEY).value == pytest.approx(0.6)
    assert found.general_loss(found.arms[0], SMALL).floor == 0
    assert found.starts == {"m": []}
    record = json.loads((tmp_path / "runs/m.base/eval.json").read_text())
    start = {"run": "p.e.sft", "model": "p", "domain": "e"}
    record |= {"run_info": {"config": {"starts": [start]}}}
    (tmp_path / "runs/m.base/eval.json").write_text(json.dumps(record))
    found = read_results(made.runs, tmp_path / "runs")
    assert found.starts == {"m": [("p.e.sft", "p", "e")]}
    assert found.all_domains("m") == ["d", "e"]


def test_the_noise_floor_is_part_of_every_interval(tmp_path: Path) -> None:
    """The mean of one task's floor; as shipped has the floor of the same score as trained."""
    made = written(study(ARMS), tmp_path / "runs")
    floors = {
        "news": {"bits_per_byte": {"floor": 0.004, "score": 1.0, "variants": {}}},
        "d": {"nll": {"floor": 0.5, "score": 2.0, "variants": {}}},
    }
    (tmp_path / "noise_floor").mkdir()
    (tmp_path / "noise_floor/m.json").write_text(json.dumps(floors))
    found = read_results(made.runs, tmp_path / "runs")
    sft = found.arms[0]
    loss = found.general_loss(sft, SMALL)
    assert (loss.floor, (loss - loss).floor) == (0.004, 0.004)
    assert found.score(sft, SMALL, ("d", "nll")).floor == 0.5
    assert found.score(sft, SMALL, KEY).floor == 0


def test_what_cannot_be_scored_is_named() -> None:
    results = study(ARMS)
    sft, _ = results.arms
    results.items["m.d.sft.1e-05.1"][KEY].loc["i0007", "value"] = np.nan
    with pytest.raises(Untested, match=r"run m.d.sft.1e-05.1: accuracy of d is NaN for 1 of 400"):
        results.score(sft, SMALL, KEY)
    cast(dict[str, Items], results.items).pop("m.d.sft.0.0001.2")
    with pytest.raises(Untested, match=r"run m.d.sft.0.0001.2 is not evaluated"):
        results.score(sft, LARGE, KEY)
    with pytest.raises(Untested, match=r"run of θ₀ has no nll of x"):
        results.score(sft, SMALL, ("x", "nll"))
    frame = results.items["m.d.talr.1e-05.0"][KEY]
    results.items["m.d.talr.1e-05.0"][KEY] = frame.iloc[1:]
    with pytest.raises(Untested, match=r"talr.1e-05.0 and θ₀ were scored on different items of d"):
        results.score(results.arms[1], SMALL, KEY)


def test_a_nan_is_not_tested_and_said(tmp_path: Path) -> None:
    """Not a verdict, and not 0."""
    results = study(ARMS)
    results.items["m.d.sft.0.0001.0"][KEY].loc["i0000", "value"] = np.nan
    (row,) = rows_of(results, "smallest_rate_cost")
    assert row.verdict == "not tested"
    assert row.note == "run m.d.sft.0.0001.0: accuracy of d is NaN for 1 of 400 items"


def test_no_code_length_task() -> None:
    results = study(ARMS)
    for items in results.items.values():
        del items["news", "bits_per_byte"]
    (row,) = rows_of(results, "small_rate_keeps")
    assert row.note == "the general suite measures no code length; add such a task"


def test_halves_share_no_cluster_and_do_not_depend_on_order() -> None:
    names = [f"query {i // 3}" for i in range(30)]  # ten clusters of three items
    frame = pd.DataFrame({"value": np.arange(30.0), "size": 1.0, "cluster": names})
    halves = [clustered([frame], half) for half in (0, 1)]
    values = [set(half.value[0]) for half in halves]
    assert values[0] | values[1] == set(range(30)) and not values[0] & values[1]
    assert [half.n_clusters for half in halves] == [5, 5]
    assert not {v // 3 for v in values[0]} & {v // 3 for v in values[1]}
    turned = clustered([frame.iloc[::-1]], 0)
    assert set(turned.value[0]) == values[0]


def test_too_few_clusters_for_halves() -> None:
    frame = pd.DataFrame({"value": 1.0, "size": 1.0, "cluster": ["a", "b", "c"]})
    with pytest.raises(Untested, match="3 independent units of items are too few to choose"):
        clustered([frame], 0)


def test_chance_is_the_share_of_the_commonest_label() -> None:
    """Of 400 items 300 have one of two labels: right ones count 400 / (2 · 300) = 2/3."""
    results = study(ARMS, n_labels=2)
    sft, _ = results.arms
    assert results.chance(sft) == 0.5, "no item is known to be right"
    frame = results.items["m.base"][KEY].copy()
    frame["value"] = np.where(np.arange(400) < 3, 2 / 3, 0.0)
    results.items["m.base"]["d", "balanced_accuracy"] = frame
    assert results.chance(sft) == pytest.approx(0.75)
    plain = study(ARMS)
    assert plain.chance(plain.arms[0]) == 0, "answers that are not labels"
