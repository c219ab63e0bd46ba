"""Render, train, generate, grade: the whole loop on a tiny model of every chat layout."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.own.domain import DOMAIN
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.evaluation.evaluate import evaluate
from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tokenizer import generation_ends, load_tokenizer
from sft_tradeoff.study.runs import EvaluationConfig, RunConfig
from sft_tradeoff.study.spec import EvaluationSpec, MethodSpec, TrainingSpec
from sft_tradeoff.system.records import read_jsonl
from sft_tradeoff.tokens.round_trip import check_round_trip
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.train import train
from tests.chat_layouts.folders import write_model
from tests.chat_layouts.layouts import LAYOUTS
from tests.chat_layouts.table import TABLE, table

N_PROMPTS = 20


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_what_is_learned_is_generated_stops_and_is_graded(layout, tmp_path, jsonl):
    """A model trained to say "ok" scores 1, and stops under plain Transformers."""
    write_model(layout, tmp_path / "hub")
    base, trained = tmp_path / "base", tmp_path / "run" / "model"
    spec = ModelSpec(asset="x", chat_template_args=layout.variables)
    build_model("tiny", spec, tmp_path / "hub", base, {"name": "x"})
    path = jsonl([{"prompt": f"Say {i}", "response": "ok"} for i in range(N_PROMPTS)])
    domain = domain_spec(
        name="own",
        label="own",
        path=str(path),
        n_train=16,
        n_test=4,
        n_validation=0,
        max_new_tokens=40,
    )
    write_domain(domain, tmp_path / "data")

    tokenizer = load_tokenizer(base)
    for split, n in (("train", 16), ("test", 4)):
        records = tmp_path / "data" / f"{split}.jsonl"
        tokens = tokenize_file(tokenizer, records, 200)
        assert {tokenizer.decode(ids[mask]) for ids, mask in map(tokens.example, range(n))} == {
            layout.learned
        }
        ends = generation_ends(base)
        assert check_round_trip(tokenizer, ends, tokens, read_jsonl(records), DOMAIN.score) == n
        tokens.save(tmp_path / f"{split}.npz")

    config = RunConfig(
        run="run",
        model="tiny",
        model_digest="x",
        domain=domain,
        method=MethodSpec(name="sft"),
        learning_rate=1e-2,
        seed=0,
        training=TrainingSpec(
            epochs=16, batch_size=4, micro_batch_size=4, max_length=200, precision="fp32"
        ),
    )
    trained.parent.mkdir()
    train(config, base, tmp_path / "train.npz", trained)
    asked = EvaluationConfig(
        run="run",
        model="tiny",
        model_digest="x",
        domains=(domain,),
        evaluation=EvaluationSpec(max_length=256, dtype="float32"),
    )
    tests = [tmp_path / "data/test.jsonl"], [tmp_path / "test.npz"]
    evaluate(asked, trained, base, *tests, tmp_path / "run" / "eval.json")
    info = json.loads((tmp_path / "run" / "eval.json").read_text())["eval_info"]
    scores = {metric["metric"]: metric["value"] for metric in info["metrics"]}
    assert (scores["accuracy"], scores["format_failure"]) == (1.0, 0.0)
    assert plain_answer(trained) == layout.learned


def plain_answer(folder):
    """The answer of a folder that is loaded with Transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    encoded = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Say 7"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    ids = encoded["input_ids"]
    keywords = {"attention_mask": torch.ones_like(ids), "pad_token_id": tokenizer.eos_token_id}
    answer = model.generate(ids, **keywords, max_new_tokens=40, do_sample=False)
    return tokenizer.decode(answer[0, ids.shape[1] :])


def test_the_documentation_lists_the_tested_layouts():
    assert table() in TABLE.read_text(encoding="utf-8")
