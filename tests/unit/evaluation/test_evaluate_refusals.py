"""What makes an evaluation impossible or invalid is named, mostly before a model is loaded."""

import json
import shutil
from pathlib import Path

import pytest

from sft_tradeoff.evaluation.evaluate import (
    EvaluationError,
    check_expected,
)
from sft_tradeoff.evaluation.tasks import SuiteError
from sft_tradeoff.study.runs import EvaluationConfig
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.suite.human_eval import ExecutionNotAllowed
from sft_tradeoff.suite.items import BenchmarkError
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import checksum_path
from tests.chat_layouts.templates import DEMANDS_SYSTEM
from tests.unit.evaluation.material import DOMAIN, run


def test_answers_longer_than_the_studys_number_are_refused(material, random_model, monkeypatch):
    short = DOMAIN.model_copy(update={"max_new_tokens": 18})
    monkeypatch.setattr("tests.unit.evaluation.material.DOMAIN", short)
    with pytest.raises(UserError, match="max_new_tokens 18 is less than the 19 tokens"):
        run(material, random_model, {"piqa": 1})


def refuse_to_load(*_):
    raise AssertionError("the model was loaded")


@pytest.mark.parametrize(
    ("name", "item", "words"),
    [
        ("piqa", {"id": "p9", "question": "q", "choices": ["a", "b"]}, ["'gold' is missing"]),
        (
            "piqa",
            {"id": "p9", "question": "q", "choices": ["a", "b"], "gold": 2},
            ["'gold' is 2, outside the 2 choices"],
        ),
        ("code_length_code", {"id": "p9", "text": " "}, ["'text' is empty"]),
    ],
)
def test_an_unusable_item_is_named_before_the_model_is_loaded(
    material, random_model, monkeypatch, name, item, words
):
    monkeypatch.setattr("sft_tradeoff.evaluation.load.load_lm", refuse_to_load)
    path = material / "cache" / "benchmarks" / f"{name}.jsonl"
    path.write_text(path.read_text() + json.dumps(item) + "\n")
    with pytest.raises(BenchmarkError) as error:
        run(material, random_model, {name: None})
    for word in (name, "'p9'", f"line {len(path.read_text().splitlines())}", *words):
        assert word in str(error.value)


def test_a_missing_file_is_named_before_the_model_is_loaded(material, random_model, monkeypatch):
    monkeypatch.setattr("sft_tradeoff.evaluation.load.load_lm", refuse_to_load)
    with pytest.raises(BenchmarkError, match=r"openbookqa: file not found: .*openbookqa\.jsonl"):
        run(material, random_model, {"openbookqa": None})


def test_a_window_shorter_than_the_prompt_is_refused_before_any_forward_pass(
    material, random_model, monkeypatch
):
    """Bytes are tokens here: a question of 600 needs more than 500, the domain less."""
    from sft_tradeoff.evaluation.lm import SharedPrefixLM

    for kind in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        monkeypatch.setattr(SharedPrefixLM, kind, refuse_to_load)
    path = material / "cache" / "benchmarks" / "piqa.jsonl"
    long = {"id": "p5", "question": "w" * 600, "choices": ["yes", "no"], "gold": 0}
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], json.dumps(long)]) + "\n")
    with pytest.raises(SuiteError, match=r"evaluation\.max_length: 500 .*task 'piqa', item 'p5'"):
        run(material, random_model, {"piqa": None}, max_length=500)


def test_a_domain_that_would_be_truncated_is_refused_before_the_model_is_loaded(
    material, random_model, monkeypatch
):
    monkeypatch.setattr("sft_tradeoff.evaluation.load.load_lm", refuse_to_load)
    with pytest.raises(EvaluationError, match=r"max_length: 300 .* domain 'esci-label_only'"):
        run(material, random_model, {}, max_length=300)


def test_a_template_that_cannot_render_a_prompt_is_named_with_its_place(
    material, random_model, tmp_path
):
    ours = shutil.ignore_patterns("*MODEL.json*")
    folder = Path(shutil.copytree(random_model, tmp_path / "demanding", ignore=ours))
    (folder / "chat_template.jinja").write_text(DEMANDS_SYSTEM)
    with pytest.raises(EvaluationError, match="a system message comes first") as caught:
        run(material, folder, {})
    assert f"put a corrected one into {folder / 'chat_template.jinja'}" in str(caught.value)


def test_a_window_wider_than_the_models_is_refused(material, random_model):
    with pytest.raises(UserError, match=r"max_length: 4096 exceeds the model's window of 2048"):
        run(material, random_model, {}, max_length=4096)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("esci/test.jsonl", b"", "is empty"),
        ("esci/test.jsonl", b'{"id": "a", "prompt": "p"}\n', "line 1: no 'answer'"),
        ("esci/test.jsonl", b"{", "test.jsonl, line 1: not JSON"),
        ("test.npz", b"PK damaged", "test.npz cannot be read"),
        ("esci/test.jsonl", None, "cannot be read"),
    ],
)
def test_damaged_domain_files_are_named_before_the_model_is_loaded(
    material, random_model, monkeypatch, name, content, words
):
    monkeypatch.setattr("sft_tradeoff.evaluation.load.load_lm", refuse_to_load)
    (material / name).unlink()
    checksum_path(material / name).unlink()  # with it, all damage gives the same error
    if content is not None:
        (material / name).write_bytes(content)
    with pytest.raises(UserError, match="esci-label_only") as error:
        run(material, random_model, {})
    assert words in str(error.value)


def test_generated_code_needs_the_studys_permission(material, random_model, monkeypatch):
    monkeypatch.setattr("sft_tradeoff.evaluation.load.load_lm", refuse_to_load)
    item = {
        "id": "h",
        "prompt": "def f():\n",
        "test": "def check(candidate): pass",
        "entry_point": "f",
    }
    (material / "cache" / "benchmarks" / "human_eval.jsonl").write_text(json.dumps(item) + "\n")
    with pytest.raises(ExecutionNotAllowed, match=r"evaluation\.execute_code: false"):
        run(material, random_model, {"human_eval": None})


def test_a_backend_that_is_not_installed_is_named(material, random_model):
    with pytest.raises(UserError, match=r"evaluation.backend: vllm needs .*pip install vllm"):
        run(material, random_model, {"piqa": 1}, backend="vllm")


def test_unexpected_base_scores_are_refused(material, random_model):
    with pytest.raises(EvaluationError, match=r"code_length_code\.bits_per_byte of θ0 is"):
        run(
            material,
            random_model,
            {"code_length_code": None},
            expected={"code_length_code.bits_per_byte": (0.1, 0.2)},
        )
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
    check_expected(EvaluationConfig(**config, expected={"boolq.acc": (0.6, 0.7)}), metrics)
    with pytest.raises(EvaluationError, match=r"piqa\.acc_nrm in 'expected' .* choose one of acc"):
        check_expected(EvaluationConfig(**config, expected={"piqa.acc_nrm": (0, 1)}), metrics)
