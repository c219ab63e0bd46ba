"""Scores: every item kept, ratios by hand, prompts as in training, broken scores never zero."""

import json
import math

import pandas as pd
import pytest

from sft_tradeoff.domains.__main__ import refuse_leakage, write_domain
from sft_tradeoff.domains.base import Example
from sft_tradeoff.evaluate import (
    COLUMNS,
    EvaluationError,
    check_expected,
    evaluate,
    summarise,
)
from sft_tradeoff.models import load_tokenizer
from sft_tradeoff.runs import EvaluationConfig
from sft_tradeoff.specs import DomainSpec, EvaluationSpec
from sft_tradeoff.tokenization import read_jsonl, tokenize_example, tokenize_file

DOMAIN = DomainSpec(name="esci", variant="label_only", n_train=2, n_validation=1, n_test=8,
                    max_new_tokens=4)  # fmt: skip


@pytest.fixture
def material(tmp_path, random_model, monkeypatch):
    """Benchmarks of the real schema, a domain and its tokens."""
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "benchmarks"
    folder.mkdir(parents=True)
    choices = [
        {"id": f"p{i}", "question": f"What is {i}?", "choices": ["yes", "no"], "gold": i % 2}
        for i in range(6)
    ]
    texts = [{"id": f"t{i}", "text": "words and words " * (i + 1)} for i in range(3)]
    for name, items in (("piqa", choices), ("code_length_code", texts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in items))
    write_domain(DOMAIN, tmp_path / "esci")
    tokens = tokenize_file(load_tokenizer(random_model), tmp_path / "esci" / "test.jsonl", 1024)
    tokens.save(tmp_path / "test.npz")
    return tmp_path


def run(material, model, tasks, **settings):
    config = EvaluationConfig(
        run="base", model="m", model_digest="", domains=(DOMAIN,),
        evaluation=EvaluationSpec(tasks=tasks, dtype="float32"), **settings,
    )  # fmt: skip
    out = material / "out" / "eval.json"
    evaluate(config, model, model, [material / "esci" / "test.jsonl"], [material / "test.npz"], out)
    return json.loads(out.read_text()), pd.read_parquet(out.parent / "items.parquet")


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


def test_limit_takes_the_same_first_items(material, random_model):
    """Runs are paired by item: a smaller limit must be a prefix."""
    _, few = run(material, random_model, {"piqa": 2})
    _, all_ = run(material, random_model, {"piqa": None})
    keys = ["benchmark", "item", "metric"]
    merged = few.merge(all_, on=keys, suffixes=("", "_all"))
    assert len(merged) == len(few)
    assert merged["value"].tolist() == pytest.approx(merged["value_all"].tolist(), rel=1e-5)


def test_generation_prompt_is_the_training_prompt(material, random_model, monkeypatch):
    """The token ids that generation starts from are those before the response in training."""
    from sft_tradeoff.lm import HeadOnlyLM

    seen = []
    original = HeadOnlyLM._model_generate

    def spy(self, context, *args, **kwargs):
        seen.extend(context.tolist())
        return original(self, context, *args, **kwargs)

    monkeypatch.setattr(HeadOnlyLM, "_model_generate", spy)
    run(material, random_model, {})
    tokenizer = load_tokenizer(random_model)
    pad = tokenizer.pad_token_id
    prompts = {tuple(i for i in ids if i != pad) for ids in seen}
    for record in read_jsonl(material / "esci" / "test.jsonl"):
        example = tokenize_example(tokenizer, record, 4096)
        assert tuple(example.input_ids[: example.response_mask.index(True)]) in prompts


def test_unknown_task_is_named_before_any_forward_pass(material, random_model):
    with pytest.raises(EvaluationError, match=r"unknown task 'pica'; choose from .*piqa"):
        run(material, random_model, {"pica": 2})


def test_unexpected_base_scores_are_refused(material, random_model):
    with pytest.raises(EvaluationError, match=r"code_length_code\.bits_per_byte of θ0 is"):
        run(material, random_model, {"code_length_code": None},
            expected={"code_length_code.bits_per_byte": (0.1, 0.2)})  # fmt: skip
    assert not (material / "out" / "eval.json").exists()


def test_expected_range_by_hand():
    """0.50 ± 0.02: outside [0.6, 0.7] by more than three standard errors; inside [0.55, 0.7]."""
    metrics = [{"benchmark": "piqa", "metric": "acc", "value": 0.5, "stderr": 0.02, "n": 600}]
    config = {
        "run": "b",
        "model": "m",
        "model_digest": "",
        "domains": (),
        "evaluation": EvaluationSpec(),
    }
    check_expected(EvaluationConfig(**config, expected={"piqa.acc": (0.55, 0.7)}), metrics)
    with pytest.raises(EvaluationError):
        check_expected(EvaluationConfig(**config, expected={"piqa.acc": (0.6, 0.7)}), metrics)


def test_broken_scores_stay_nan_with_a_reason():
    items = pd.DataFrame(
        [("b", "1", "acc", 1.0, 1.0), ("b", "2", "acc", math.nan, 1.0)], columns=COLUMNS
    )
    (metric,) = summarise(items)
    assert math.isnan(metric["value"])
    assert metric["reason"] == "1 of 2 items are not finite"


def test_leakage_between_splits_is_refused():
    def example(id_, prompt):
        return Example(id=id_, prompt=prompt, response="r", answer="a")

    splits = {"train": [example("a", "Same  prompt")], "validation": [],
              "test": [example("b", "same prompt")]}  # fmt: skip
    with pytest.raises(Exception, match=r"'b' has the prompt of train example 'a'"):
        refuse_leakage(splits)
