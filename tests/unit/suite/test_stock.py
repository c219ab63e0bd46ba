"""lm-eval's own ifeval, gsm8k and humaneval on small files in the hub's layout, offline.

Everything that imports lm-eval runs once, in a process whose sockets refuse to connect.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from sft_tradeoff.assets.fetch import asset_path, parse_asset
from sft_tradeoff.assets.spec import LocalAsset
from sft_tradeoff.sandbox.run import SandboxError
from sft_tradeoff.study.config import CATALOGUE_PATH
from sft_tradeoff.suite import human_eval, stock
from sft_tradeoff.suite.base import TaskOptions
from sft_tradeoff.suite.human_eval import ExecutionNotAllowed
from sft_tradeoff.suite.items import BenchmarkError
from sft_tradeoff.suite.stock import PUNKT, STOCK, build, stock_task
from sft_tradeoff.system.records import RecordError
from tests.unit.suite.stock_data import (
    ANSWERS,
    HUMANEVAL,
    IFEVAL,
    TEST,
    TRAIN,
    hub,
    write_jsonl,
    write_parquet,
    write_punkt,
)

SCRIPT = Path(__file__).with_name("stock_in_process.py")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What happened in the process without network."""
    folder = tmp_path_factory.mktemp("stock")
    items = {name: build(hub(folder / "hub" / name, name), name) for name in STOCK}
    items["gone"] = items["ifeval"][:2]  # nothing that needs nltk's model, so not refused
    items["unknown"] = [{**items["gone"][0], "instruction_id_list": ["a:b", "c:d"]}]
    items["argument"] = [{**items["gone"][0], "kwargs": [{"colour": "red"}, {}]}]
    for name, listed in items.items():
        # Any order: build_benchmark shuffles.
        write_jsonl(folder / f"{name}.jsonl", random.Random(0).sample(listed, len(listed)))
    write_punkt(folder / "later")
    local = asset_path(folder / "cache", PUNKT, LocalAsset(source="local", path=f"{folder}/local"))
    environment = dict(os.environ, HOME=str(folder), NLTK_DATA=str(local), LOCAL_RANK="0")
    environment["SFT_TRADEOFF_CACHE"] = str(folder / "cache")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), json.dumps(ANSWERS)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- items --------------------------------------------------------------------------------------


def test_gsm8k_keeps_both_splits_apart(tmp_path):
    items = build(hub(tmp_path, "gsm8k"), "gsm8k")
    assert len(items) == 11
    assert items[7] == {**TEST[0], "id": "test-00000", "row": 0, "split": "test"}
    assert [i["id"] for i in items if i["split"] == "train"][-1] == "train-00006"


def test_jsonl_and_parquet_are_read_alike(tmp_path):
    hub(tmp_path / "hub", "gsm8k")
    write_jsonl(tmp_path / "own/train.jsonl", TRAIN)
    write_jsonl(tmp_path / "own/test.jsonl", TEST)
    assert build(tmp_path / "own", "gsm8k") == build(tmp_path / "hub", "gsm8k")
    write_parquet(tmp_path / "if/train-00000-of-00001.parquet", IFEVAL)
    assert build(tmp_path / "if", "ifeval") == build(hub(tmp_path / "j", "ifeval"), "ifeval")
    assert build(tmp_path / "if", "ifeval")[2]["kwargs"][0]["num_words"] == 5


def test_own_ids_are_kept(tmp_path):
    assert [i["id"] for i in build(hub(tmp_path / "a", "ifeval"), "ifeval")] == [
        "1000",
        "1001",
        "1005",
        "1012",
    ]
    items = build(hub(tmp_path / "b", "humaneval"), "humaneval")
    assert [(i["id"], i["row"]) for i in items] == [
        ("HumanEval/2", 0),
        ("HumanEval/10", 1),
        ("HumanEval/9", 2),
    ]


@pytest.mark.parametrize(
    ("name", "records", "change", "defect"),
    [
        ("gsm8k", TEST, {"answer": "So it is 42."}, "'#### <number>' but in 'So it is 42.'"),
        ("gsm8k", TEST, {"answer": "6*7\n#### many"}, "'#### <number>'"),
        ("gsm8k", TEST, {"question": " "}, "'question' is empty"),
        ("gsm8k", TEST, {"answer": None}, "'answer' is missing"),
        ("ifeval", IFEVAL, {"prompt": ""}, "'prompt' is empty"),
        ("ifeval", IFEVAL, {"kwargs": None}, "'kwargs' is missing"),
        ("ifeval", IFEVAL, {"kwargs": [{}, {}, {}]}, "'kwargs' has 3 entries"),
        ("ifeval", IFEVAL, {"instruction_id_list": "punctuation:no_comma"}, "not list"),
        ("humaneval", HUMANEVAL, {"test": None}, "'test' is missing"),
        ("humaneval", HUMANEVAL, {"prompt": "def treble(x):\n"}, "no function 'times'"),
    ],
)
def test_a_defect_is_named(tmp_path, name, records, change, defect):
    """In the second item; None stands for a column that is missing in all of them."""
    if list(change.values()) == [None]:
        records = [{k: v for k, v in r.items() if k not in change} for r in records]
        bad, number = records[0], 1
    else:
        bad, number = {**records[1], **change}, 2
        records = [records[0], bad, *records[2:]]
    with pytest.raises(BenchmarkError) as error:
        build(hub(tmp_path, name, records), name)
    id_ = str(bad.get(STOCK[name].id_column, f"test-{number - 1:05d}"))
    for part in (
        f"{name}: ",
        f"row {number} ",
        f"(id {id_!r})",
        defect,
        "fetch its asset again",
    ):
        assert part in str(error.value)


def test_missing_and_ambiguous_files_are_refused(tmp_path):
    with pytest.raises(BenchmarkError, match=r"gsm8k: .* train\*\.parquet .* neither"):
        build(tmp_path, "gsm8k")
    hub(tmp_path, "gsm8k")
    write_parquet(tmp_path / "socratic/train-00000-of-00001.parquet", TRAIN)
    with pytest.raises(BenchmarkError, match="socratic/train"):
        build(tmp_path, "gsm8k")


def test_a_damaged_file_is_refused(tmp_path):
    hub(tmp_path, "gsm8k")
    path = tmp_path / "main/train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RecordError, match=r"main/train-00000.* is damaged"):
        build(tmp_path, "gsm8k")


# --- permission, sentence model ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["humaneval", "humaneval_instruct"])
def test_code_does_not_run_without_permission(name):
    with pytest.raises(ExecutionNotAllowed, match=f"evaluation.execute_code: false.*'{name}'"):
        stock_task(name, [], TaskOptions(None, execute_code=False))


@pytest.mark.parametrize("name", ["humaneval", "humaneval_instruct"])
def test_a_machine_without_sandbox_is_refused(monkeypatch, name):
    def refuse():
        raise SandboxError("no namespaces")

    monkeypatch.setattr(human_eval, "require_sandbox", refuse)
    with pytest.raises(SandboxError, match="no namespaces"):
        stock_task(name, [], TaskOptions(None, execute_code=True))


@pytest.mark.parametrize("is_named", [True, False])
def test_the_catalogues_sentence_model_is_found(tmp_path, monkeypatch, is_named):
    """In the wheel's layout; where no workflow names the asset's folder, in the cache."""
    from nltk import data

    entry = yaml.safe_load(CATALOGUE_PATH.read_text())["assets"][PUNKT]
    spec = parse_asset(PUNKT, json.dumps(entry))
    folder = asset_path(tmp_path / ("elsewhere" if is_named else "cache"), PUNKT, spec)
    for member in spec.members:
        (folder / member).parent.mkdir(parents=True, exist_ok=True)
        (folder / member).touch()
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NLTK_DATA", str(folder) if is_named else "")
    monkeypatch.setattr(data, "path", [])
    stock._find_punkt()
    assert str(data.find("tokenizers/punkt_tab/english/")).startswith(f"{folder}/")


# --- through lm-eval ----------------------------------------------------------------------------


def test_nothing_is_fetched(ran):
    assert ran["connections"] == []


def test_definitions_are_lm_evals(ran):
    """Everything but the data and HumanEval's scorer."""
    assert ran["same"] == dict.fromkeys(STOCK, True)
    expected = {"doc_to_text", "doc_to_target", "generation_kwargs", "num_fewshot", "test_split"}
    assert all(expected <= set(kept) for kept in ran["kept"].values())
    assert "gen_prefix" in ran["kept"]["humaneval_instruct"]
    assert ran["same_scoring"] == {"gsm8k": [True, True], "ifeval": [True]}
    versions = {name: facts["version"] for name, facts in ran["metadata"].items()}
    assert versions == {"ifeval": 4.0, "gsm8k": 3.0, "humaneval": 1.0, "humaneval_instruct": 4.0}


def shots():
    """Five training questions per test question: lm-eval draws in turn, seeded with 1234."""
    rng = random.Random(1234)
    return [rng.sample(TRAIN, 5) for _ in TEST]


def test_gsm8k_prompt(ran):
    """Each of the two filters logs every item; the order is the source's."""
    log = ran["plain"]["gsm8k"]
    expected = [
        "".join(f"Question: {s['question']}\nAnswer: {s['answer']}\n\n" for s in five)
        + f"Question: {doc['question']}\nAnswer:"
        for doc, five in zip(TEST, shots(), strict=True)
    ]
    assert [s["prompt"] for s in log] == expected * 2
    assert ran["own_gsm8k"] == expected * 2
    assert [s["prompt"] for s in ran["first"]["gsm8k"]] == expected[:2] * 2
    assert [s["filter"] for s in log] == ["strict-match"] * 4 + ["flexible-extract"] * 4
    assert log[0]["options"] == {
        "until": ["Question:", "</s>", "<|im_end|>"],
        "do_sample": False,
        "temperature": 0.0,
    }


def test_other_prompts(ran):
    ifeval, humaneval = ran["plain"]["ifeval"], ran["plain"]["humaneval"]
    assert [s["prompt"] for s in ifeval] == [r["prompt"] for r in IFEVAL]
    assert ifeval[0]["options"] == {
        "until": [],
        "do_sample": False,
        "temperature": 0.0,
        "max_gen_toks": 1280,
    }
    assert [s["prompt"] for s in humaneval] == [r["prompt"] for r in HUMANEVAL]
    assert humaneval[0]["options"] == {
        "until": ["\nclass", "\ndef", "\n#", "\nif", "\nprint"],
        "max_gen_toks": 1024,
        "do_sample": False,
    }


def user(text):
    """A user's turn in the random model's template."""
    return f"[USER] {text} [/USER] "


def test_prompts_in_a_chat_template(ran):
    """Few-shot examples become earlier turns; HumanEval's answer starts inside its code block."""
    gsm8k, five = ran["chat"]["gsm8k"][0]["prompt"], shots()[0]
    turns = [user(f"Question: {s['question']}\nAnswer:") + f"{s['answer']}</s>" for s in five]
    assert gsm8k == "<s>" + "".join(turns) + user(f"Question: {TEST[0]['question']}\nAnswer:")
    assert ran["chat"]["ifeval"][0]["prompt"] == "<s>" + user(IFEVAL[0]["prompt"])
    code = HUMANEVAL[0]["prompt"]
    task = (
        "Write a solution to the following problem and make sure that it passes the tests:\n"
        f"```python\n{code}\n```\n"
    )
    begun = f"Here is the completed function:\n```python\n{code}\n"
    assert ran["chat"]["humaneval_instruct"][0]["prompt"] == "<s>" + user(task) + begun


def scores(rows):
    """(item, metric) -> (value, size)."""
    return {(item, metric): (value, size) for _, item, metric, value, size in rows}


def test_gsm8k_scores(ran):
    """Commas do not matter; strict wants ####, flexible takes the last number."""
    strict, flexible = [
        [scores(ran["rows"]["gsm8k"])[f"test-0000{i}", f"exact_match_{m}"] for i in range(4)]
        for m in ("strict", "flexible")
    ]
    assert strict == [(1, 1), (0, 1), (1, 1), (0, 1)]
    assert flexible == [(1, 1), (1, 1), (0, 1), (0, 1)]
    assert len(ran["rows"]["gsm8k"]) == 8


def test_ifeval_scores(ran):
    """By hand, followed of all: 1000: 2 of 2; 1001: only without its first line; 1005: 1 of 2."""
    rows = pd.DataFrame(ran["rows"]["ifeval"], columns=["b", "item", "metric", "value", "size"])
    table = rows.pivot(index="item", columns="metric", values="value")
    assert table.to_dict("list") == {
        "inst_level_loose": [2, 1, 1, 1],
        "inst_level_strict": [2, 0, 1, 1],
        "prompt_level_loose": [1, 1, 0, 1],
        "prompt_level_strict": [1, 0, 0, 1],
    }
    totals = rows.groupby("metric")[["value", "size"]].sum()
    assert tuple(totals.loc["inst_level_strict"]) == (4, 6)
    assert tuple(totals.loc["prompt_level_loose"]) == (3, 4)
    assert ran["chat_rows"]["ifeval"] == ran["rows"]["ifeval"]


def test_a_broken_checker_costs_one_prompt_only(ran):
    """NaN, with the sizes that a score would have."""
    assert [(row[2], row[4]) for row in ran["broken"]] == [
        ("prompt_level_strict", 1),
        ("prompt_level_loose", 1),
        ("inst_level_strict", 2),
        ("inst_level_loose", 2),
    ]
    assert all(math.isnan(row[3]) for row in ran["broken"])


@pytest.mark.usefixtures("sandbox")
def test_humaneval_scores(ran):
    """Right; wrong; exits early. In a code block the answer ends with it, so the third is empty."""
    passed = {item: value for _, item, _, value, _ in ran["rows"]["humaneval"]}
    assert passed == {"HumanEval/2": 1, "HumanEval/10": 0, "HumanEval/9": 0}
    assert {row[2] for row in ran["rows"]["humaneval"]} == {"pass_at_1"}
    in_block = {item: value for _, item, _, value, _ in ran["chat_rows"]["humaneval_instruct"]}
    assert in_block == {"HumanEval/2": 1, "HumanEval/10": 0, "HumanEval/9": 0}


def test_a_failing_sandbox_costs_the_item_only(ran):
    """Each of the three items of both tasks has a row of size 1 without a value."""
    assert [row[4] for row in ran["untested"]] == [1] * 6
    assert all(math.isnan(row[3]) for row in ran["untested"])


def test_programs_are_lm_evals(ran):
    assert [p.rstrip("\n") for p in ran["programs"]] == ran["own_programs"]


def test_prompts_that_cannot_be_graded_are_refused(ran):
    """Before any forward pass: no sentence model, an unknown instruction, an unknown argument."""
    refused = ran["refused"]
    assert set(refused) == {"ifeval", "unknown", "argument"}
    assert "'1012' cannot be graded: nltk's punkt_tab is missing; fetch" in refused["ifeval"]
    assert "set its 'path' (source: local) to the folder" in refused["ifeval"]
    assert "'1000' cannot be graded: KeyError: 'a:b'" in refused["unknown"]
    assert "colour" in refused["argument"]
