"""Scores: every item is kept, ratios, prompts as in training, NaN instead of zero."""

import hashlib
import json
import math
import os

import pandas as pd
import pytest
from lm_eval.api.task import ConfigurableTask

from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.evaluation.evaluate import summarize
from sft_tradeoff.evaluation.item_table import COLUMNS
from sft_tradeoff.evaluation.tasks import read_records
from sft_tradeoff.models.tokenization import tokenize_example
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.system.files import checksum_path, sha256_of
from sft_tradeoff.system.records import read_jsonl
from sft_tradeoff.tokens.tokenize import tokenize_file
from tests.unit.evaluation.material import run


def test_every_item_is_kept_and_metrics_are_their_ratios(material, random_model):
    report, items = run(material, random_model, {"piqa": 4, "code_length_code": None})
    assert list(items.columns) == COLUMNS
    n = items.groupby(["benchmark", "metric"]).size()
    assert n["piqa", "acc_norm"] == 4 and n["code_length_code", "bits_per_byte"] == 3
    assert n["esci-label_only", "accuracy"] == n["esci-label_only", "nll"] == 8
    assert not items.duplicated(["benchmark", "metric", "item"]).any()
    for m in report["eval_info"]["metrics"]:
        rows = items[(items["benchmark"] == m["benchmark"]) & (items["metric"] == m["metric"])]
        assert m["value"] == pytest.approx(rows["value"].sum() / rows["size"].sum())
        assert m["n"] == len(rows) and m["reason"] is None
    sizes = items[items["metric"] == "bits_per_byte"].set_index("item")["size"]
    assert sizes["t2"] == len("words and words " * 3)
    assert "host" not in json.dumps(report).lower()
    assert report["eval_info"]["n_truncated"] == {"esci-label_only": 0}


def test_truncated_responses_are_counted(material, random_model):
    """One token less than the longest examples have."""
    lengths = TokenizedData.load(material / "test.npz").lengths
    tokenizer = load_tokenizer(random_model)
    truncated = tokenize_file(tokenizer, material / "esci" / "test.jsonl", int(lengths.max()) - 1)
    truncated.save(material / "test.npz")
    report, _ = run(material, random_model, {"piqa": 1})
    n_truncated = int((lengths == lengths.max()).sum())
    assert report["eval_info"]["n_truncated"] == {"esci-label_only": n_truncated}


def test_limit_takes_the_same_first_items(material, random_model):
    """Runs are paired by item: a smaller limit must be a prefix."""
    _, few = run(material, random_model, {"piqa": 2})
    _, all_ = run(material, random_model, {"piqa": None})
    keys = ["benchmark", "item", "metric"]
    merged = few.merge(all_, on=keys, suffixes=("", "_all"))
    assert len(merged) == len(few)
    assert merged["value"].tolist() == pytest.approx(merged["value_all"].tolist(), rel=1e-5)


@pytest.fixture
def tasks(material, random_model):
    """One task of each type, and a second domain, of which half has the prompts of the first."""
    folder = material / "cache" / "benchmarks"
    (folder / "openbookqa.jsonl").write_text((folder / "piqa.jsonl").read_text())
    texts = [{"id": f"m{i}", "text": "sums " * (7 * i + 1)} for i in range(4)]
    (folder / "code_length_math.jsonl").write_text("".join(json.dumps(r) + "\n" for r in texts))
    sums = [
        {"id": f"a{i}", "question": "one more " * i + "is?", "answer": str(i)} for i in range(5)
    ]
    (folder / "asdiv.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums))
    records = list(read_jsonl(material / "esci" / "test.jsonl"))
    for i, record in enumerate(records):
        record["response"] = record["answer"] = "Exact" if i % 2 else "Irrelevant"
        record["prompt"] += " Why?" * (i // 4)
    (material / "other").mkdir()
    path = material / "other" / "test.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    tokenize_file(load_tokenizer(random_model), path, 1024).save(material / "other.npz")
    names = ("code_length_code", "code_length_math", "asdiv")
    return {"piqa": 5, "openbookqa": 3, **dict.fromkeys(names)}


def test_scores_are_the_same_bits_whatever_else_is_asked(material, random_model, tasks):
    """In bfloat16 an answer depends on the batch that it is computed in."""
    common = {"dtype": "bfloat16", "max_length": 1500}
    _, together = run(material, random_model, tasks, domains=("esci", "other"), **common)
    alone = [run(material, random_model, {t: n}, domains=(), **common)[1] for t, n in tasks.items()]
    alone += [run(material, random_model, {}, domains=(d,), **common)[1] for d in ("esci", "other")]
    assert together["benchmark"].nunique() == 7
    keys = ["benchmark", "metric", "item"]
    expected = pd.concat(alone).set_index(keys).sort_index()
    assert together.set_index(keys).sort_index().equals(expected)


def test_a_replaced_file_of_the_same_time_is_read_again(material, random_model):
    """The other choice is right now; a cache that knows path and time would ask the old file."""
    path = material / "cache" / "benchmarks" / "piqa.jsonl"
    first, before = run(material, random_model, {"piqa": None})
    status, text = path.stat(), path.read_text()
    swapped = text.replace('"gold": 0', '"gold": 2').replace('"gold": 1', '"gold": 0')
    path.write_text(swapped.replace('"gold": 2', '"gold": 1'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    second, after = run(material, random_model, {"piqa": None})
    hashes = [report["meta_info"]["test_sha256"]["piqa"] for report in (first, second)]
    assert hashes == [hashlib.sha256(t.encode()).hexdigest() for t in (text, path.read_text())]
    accuracy = [
        items[items["metric"] == "acc"].set_index("item")["value"] for items in (before, after)
    ]
    assert accuracy[1].tolist() == (1 - accuracy[0]).tolist()


def test_the_recorded_hash_is_of_the_items_that_were_asked(material, random_model, monkeypatch):
    """A file that changes after it was read changes neither."""
    from sft_tradeoff.evaluation.load import load_lm

    _, expected = run(material, random_model, {"piqa": None})
    files = {"piqa": material / "cache/benchmarks/piqa.jsonl"}
    files["esci-label_only"] = material / "esci" / "test.jsonl"
    hashes = {name: sha256_of(path) for name, path in files.items()}

    def spoil(*arguments):
        for path in files.values():
            path.write_text("changed")
        return load_lm(*arguments)

    monkeypatch.setattr("sft_tradeoff.evaluation.load.load_lm", spoil)
    report, items = run(material, random_model, {"piqa": None})
    assert report["meta_info"]["test_sha256"] == hashes
    assert items.equals(expected)


@pytest.fixture
def prompts(monkeypatch):
    """Every text that the model is given, by kind of request."""
    from sft_tradeoff.evaluation.lm import SharedPrefixLM

    seen = {"loglikelihood": [], "generate_until": []}

    def spy_on(kind):
        original = getattr(SharedPrefixLM, kind)

        def spy(self, requests, *args, **keywords):
            seen[kind] += [request.args[0] for request in requests]
            return original(self, requests, *args, **keywords)

        monkeypatch.setattr(SharedPrefixLM, kind, spy)

    for kind in seen:
        spy_on(kind)
    return seen


def test_generation_prompt_is_the_training_prompt(material, random_model, prompts):
    """The tokens that generation starts from are those before the response in training."""
    run(material, random_model, {})
    tokenizer = load_tokenizer(random_model)
    records = list(read_jsonl(material / "esci" / "test.jsonl"))
    assert len(prompts["generate_until"]) == len(records)
    for text, record in zip(prompts["generate_until"], records, strict=True):
        example = tokenize_example(tokenizer, record, 4096)
        n_prompt = example.response_mask.index(True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == example.input_ids[:n_prompt]


def test_requests_are_built_once(material, random_model, monkeypatch):
    """They are checked before lm-eval asks them, and are the same ones: 2 items, 2 contexts."""
    built = []
    context = ConfigurableTask.fewshot_context

    def spy(task, doc, *args, **keywords):
        built.extend([doc["id"]] if task.config.task == "piqa" else [])
        return context(task, doc, *args, **keywords)

    monkeypatch.setattr(ConfigurableTask, "fewshot_context", spy)
    run(material, random_model, {"piqa": 2})
    assert len(built) == len(set(built)) == 2


@pytest.mark.parametrize("chat", [False, True])
def test_the_chat_template_is_put_on_once_and_only_where_asked(
    material, random_model, prompts, chat
):
    """The random model's template writes [USER]: never in the suite by default, once with it."""
    run(material, random_model, {"piqa": 2}, chat_template=chat)
    assert {text.count("[USER]") for text in prompts["loglikelihood"]} == {int(chat)}
    assert {text.count("[USER]") for text in prompts["generate_until"]} == {1}


def test_every_loss_carries_the_id_of_its_example(material, random_model):
    report, items = run(material, random_model, {"piqa": 2})
    assert all(
        checksum_path(material / "out" / n).is_file()
        for n in ("eval.json", "items.parquet", "answers.parquet")
    )
    ids = {record["id"] for record in read_jsonl(material / "esci" / "test.jsonl")}
    assert set(items.loc[items["metric"] == "nll", "item"]) == ids
    assert set(items.loc[items["metric"] == "accuracy", "item"]) == ids
    assert report["eval_info"]["tasks"]["piqa"] == {"version": 1.0, "n_shot": 0, "n_items": 2}
    assert set(report["meta_info"]["test_sha256"]) == {"piqa", "esci-label_only"}


def test_broken_scores_stay_nan_with_a_reason():
    items = pd.DataFrame(
        [("b", "1", "acc", 1.0, 1.0, "1"), ("b", "2", "acc", math.nan, 1.0, "2")], columns=COLUMNS
    )
    (metric,) = summarize(items)
    assert math.isnan(metric["value"])
    assert metric["reason"] == "1 of 2 items are not finite"


def test_domain_text_with_a_unicode_line_separator_is_one_line(tmp_path):
    """Only a newline ends a record: U+2028 and U+0085 are written as they are, inside of it."""
    path = tmp_path / "test.jsonl"
    record = {"id": "a", "prompt": "one\u2028two\u0085three", "answer": "4"}
    path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_records(domain_spec(name="medcalc"), path).items == [record]
