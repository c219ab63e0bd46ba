"""Items gained and lost: both answers, and limits that the page tells."""

import json

import pandas as pd
import pytest

from sft_tradeoff.report.page import changes
from tests.unit.report.page.pages import ANSWER, answers_of


def many(n, length=400):
    frame = answers_of(["r"])["m", "r"].iloc[[0]]
    rows = [frame.assign(item=f"item-{i}", text_other="x" * length) for i in range(n)]
    return {("m", "r"): pd.concat(rows, ignore_index=True)}


def test_both_answers_of_a_generation_and_of_a_choice():
    found = changes.fit(answers_of(["r"]))
    assert found["limits"]["items"] >= 2
    assert found["base"]["m/d"]["item-1"] == {"text": ANSWER, "parsed": None}
    gained = found["runs"]["r"]["d"]["gained"]
    assert gained == {"n": 1, "items": {"item-1": {"text": "<i>4</i>", "parsed": "4"}}}
    lost = found["runs"]["r"]["piqa"]["lost"]
    assert lost["items"]["item-2"] == {"chosen": 0, "gold": 1, "nats": [-1.0, -2.0]}
    assert found["base"]["m/piqa"]["item-2"]["chosen"] == 1


@pytest.mark.parametrize("max_bytes", [2_000_000, 60_000, 5_000, 300])
def test_what_does_not_fit_is_left_out_and_counted(max_bytes):
    found = changes.fit(many(200), max_bytes)
    assert len(json.dumps(found, ensure_ascii=False).encode()) <= max_bytes
    gained = found["runs"]["r"]["d"]["gained"]
    assert gained["n"] == 200
    assert len(gained["items"]) == min(200, found["limits"]["items"])


def test_a_long_answer_says_how_much_is_left_out():
    found = changes.fit(many(100, length=5000), 200_000)
    shown = found["runs"]["r"]["d"]["gained"]["items"]["item-0"]["text"]
    assert "characters left out" in shown and len(shown) < 1600


def test_a_run_without_answers_is_left_out(tmp_path):
    runs = pd.DataFrame({"run": ["b", "r"], "model": "m", "method": ["base", "sft"]})
    assert changes.read_changes(runs, tmp_path) == {}
