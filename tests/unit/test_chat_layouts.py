"""Render, train, generate, grade: the whole loop on a tiny model of every chat layout."""

import json
from itertools import cycle

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sft_tradeoff.chat import chat_format, render_prompt
from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.own.domain import DOMAIN
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.evaluation.evaluate import evaluate
from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tokenization import encode_rendered, tokenize_example
from sft_tradeoff.models.tokenizer import generation_ends, load_tokenizer
from sft_tradeoff.study.runs import EvaluationConfig, RunConfig
from sft_tradeoff.study.spec import EvaluationSpec, MethodSpec, TrainingSpec
from sft_tradeoff.system.records import read_jsonl
from sft_tradeoff.tokens.round_trip import check_round_trip
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.train import train
from tests.chat_layouts.folders import BY_FAMILY, layout_tokenizer, write_model
from tests.chat_layouts.layouts import LAYOUTS
from tests.chat_layouts.table import TABLE, table

N_PROMPTS = 20
EARLIER = [
    {"role": "user", "content": "Say 3"},
    {"role": "assistant", "content": "no"},
    {"role": "user", "content": "Why not?\nSay 4"},
    {"role": "assistant", "content": "ok"},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_what_is_learned_is_generated_stops_and_is_graded(layout, tmp_path, jsonl):
    """A model trained to say "ok" scores 1, and stops under plain Transformers."""
    write_model(layout, tmp_path / "hub")
    base = tmp_path / "base"
    spec = ModelSpec(asset="x", chat_template_args=layout.variables)
    build_model("tiny", spec, tmp_path / "hub", base, {"name": "x"})
    path = jsonl([{"prompt": f"Say {i}", "response": "ok"} for i in range(N_PROMPTS)])
    domain = own_domain(path)
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

    trained, scores = train_and_score(base, domain, tmp_path)
    assert scores == {"accuracy": 1.0, "format_failure": 0.0}
    assert plain_answer(trained) == layout.learned


def own_domain(path):
    sizes = {"n_train": 16, "n_test": 4, "n_validation": 0}
    return domain_spec(name="own", label="own", path=str(path), max_new_tokens=40, **sizes)


def train_and_score(base, domain, folder):
    """Tokenize the examples in ``data``, train on them, and grade what the model generates."""
    tokenizer = load_tokenizer(base)
    for split in ("train", "test"):
        tokenize_file(tokenizer, folder / f"data/{split}.jsonl", 200).save(folder / f"{split}.npz")
    trained = folder / "run" / "model"
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
    train(config, base, folder / "train.npz", trained)
    asked = EvaluationConfig(
        run="run",
        model="tiny",
        model_digest="x",
        domains=(domain,),
        evaluation=EvaluationSpec(max_length=256, dtype="float32"),
    )
    tests = [folder / "data/test.jsonl"], [folder / "test.npz"]
    evaluate(asked, trained, base, *tests, folder / "run" / "eval.json")
    info = json.loads((folder / "run" / "eval.json").read_text())["eval_info"]
    scores = {metric["metric"]: metric["value"] for metric in info["metrics"]}
    return trained, {name: scores[name] for name in ("accuracy", "format_failure")}


def test_an_answer_that_stands_in_an_earlier_turn_is_learned(tmp_path, jsonl):
    """All prompts are the same, so that only the turns before them tell the answer."""
    write_model(BY_FAMILY["Qwen2.5 instruct, SmolLM2"], tmp_path / "hub")
    build_model("tiny", ModelSpec(asset="x"), tmp_path / "hub", tmp_path / "base", {"name": "x"})
    (tmp_path / "data").mkdir()
    for split, n in (("train", 16), ("test", 4)):
        examples = [recall(split, i, letter) for i, letter in zip(range(n), cycle("abcd"))]
        jsonl([example.to_dict() for example in examples], f"data/{split}.jsonl")
    _, scores = train_and_score(tmp_path / "base", own_domain("x"), tmp_path)
    assert scores == {"accuracy": 1.0, "format_failure": 0.0}


def recall(split, i, letter):
    asked = {"role": "user", "content": f"Choose, {split} {i}"}
    history = (asked, {"role": "assistant", "content": letter * 24})
    meta = {"metric": "exact_match", "tolerance": 0.0, "labels": []}
    return Example(f"{split}-{i}", "Which?", letter, letter, meta, history=history)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_earlier_turns_are_read_and_the_last_answer_is_learned(layout, tmp_path):
    """Tokens are those of Transformers' own rendering of the whole conversation."""
    tokenizer = layout_tokenizer(layout.family, tmp_path)
    record = {"id": "a", "history": EARLIER, "prompt": "Say 7", "response": "ok"}
    found = tokenize_example(tokenizer, record, 1000)
    turns = [*EARLIER, {"role": "user", "content": "Say 7"}]
    answer = {"role": "assistant", "content": "ok"}
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template([*turns, answer])["input_ids"]
    n_prompt = found.response_mask.index(True)
    assert found.response_mask == [i >= n_prompt for i in range(len(found.input_ids))]
    assert found.input_ids[:n_prompt] == asked
    assert encode_rendered(tokenizer, render_prompt(tokenizer, record)) == asked
    assert tokenizer.decode(found.input_ids[n_prompt:]) == layout.learned
    marks_the_end = chat_format(tokenizer).end_text != ""  # otherwise EOS is learned
    compared = found.input_ids[: len(found.input_ids) - (not marks_the_end)]
    assert whole[: len(compared)] == compared
    rest = tokenizer.decode(whole[len(compared) :], skip_special_tokens=True)
    assert not marks_the_end or not rest.strip()


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
