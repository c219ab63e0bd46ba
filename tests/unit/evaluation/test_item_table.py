"""Per-item scores with the independent unit of each item."""

from __future__ import annotations

import json
import math

from sft_tradeoff.evaluation.item_table import COLUMNS, item_table
from sft_tradeoff.evaluation.tasks import Task, general_task
from sft_tradeoff.study.spec import EvaluationSpec
from tests.unit.evaluation.material import run


def test_items_without_a_shared_unit_are_their_own_and_infinite_scores_are_nan():
    task = Task("t", "b", {}, lambda _: [], "", clusters={"1": "u", "2": "u"})
    rows = [("b", i, "acc", value, 1.0) for i, value in (("1", math.inf), ("2", 1.0), ("3", 0.0))]
    table = item_table(rows, [task])
    assert list(table) == COLUMNS
    assert table["cluster"].tolist() == ["u", "u", "3"]
    assert table["value"].isna().tolist() == [True, False, False]


def test_questions_about_one_passage_are_one_unit(tmp_path, monkeypatch):
    """Up to case and white space; the unit's name does not show the passage."""
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path))
    passages = ["Two rivers meet.", "Two  rivers MEET.", "A hill."]
    items = [
        {"id": f"b{i}", "passage": text, "question": "So?", "choices": ["no", "yes"], "gold": 0}
        for i, text in enumerate(passages)
    ]
    path = tmp_path / "benchmarks" / "boolq.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    clusters = general_task("boolq", None, EvaluationSpec(), None).clusters
    assert clusters["b0"] == clusters["b1"] != clusters["b2"]
    assert "rivers" not in clusters["b0"]


def test_an_evaluation_names_the_unit_of_every_item(material, random_model):
    """Two of the eight queries are made equal; texts and questions are units themselves."""
    path = material / "esci" / "test.jsonl"
    records = [json.loads(line) for line in path.open()]
    records[1]["meta"]["query"] = records[0]["meta"]["query"]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    (path.parent / ".test.jsonl.sha256").unlink()
    _, items = run(material, random_model, {"piqa": 2, "code_length_code": None})
    of_domain = items[items["benchmark"] == "esci-label_only"]
    for _, scores in of_domain.groupby("metric"):
        unit = scores.set_index("item")["cluster"]
        assert unit[records[0]["id"]] == unit[records[1]["id"]]
        assert unit.nunique() == 7
    others = items[items["benchmark"] != "esci-label_only"]
    assert (others["cluster"] == others["item"]).all()
