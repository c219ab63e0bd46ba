"""Every answer is kept as it was graded, and nothing of the prompts or the benchmarks' texts."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest

from sft_tradeoff.analysis.answers import read_answers
from sft_tradeoff.evaluation.answers import Answer, Said, _chosen, graded, write_answers
from sft_tradeoff.grading.numbers import last_number
from sft_tradeoff.suite.registry import BENCHMARKS
from tests.unit.evaluation.material import run

TASKS = {"piqa": 4, "asdiv": None, "code_length_code": None}
QUESTION = "How many apples?"


@pytest.fixture
def answered(material, random_model):
    """Items and answers of an evaluation, read back."""
    sums = [{"id": f"a{i}", "question": QUESTION, "answer": str(i)} for i in range(3)]
    path = material / "cache" / "benchmarks" / "asdiv.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in sums))
    _, items = run(material, random_model, TASKS, max_length=1500)
    return items, read_answers(material / "out").set_index(["benchmark", "item"])


def test_every_graded_item_has_its_answer_and_code_length_has_none(answered):
    items, answers = answered
    accuracy = {"piqa": "acc_norm", "asdiv": "exact_match", "esci-label_only": "accuracy"}
    for benchmark, metric in accuracy.items():
        scores = items[(items["benchmark"] == benchmark) & (items["metric"] == metric)]
        found = answers.loc[benchmark]["correct"]
        assert found.to_dict() == dict(zip(scores["item"], scores["value"] == 1, strict=True))
    assert set(answers.index.get_level_values(0)) == set(accuracy)
    assert answers.groupby(level=0).size().to_dict() == {
        "piqa": 4,
        "asdiv": 3,
        "esci-label_only": 8,
    }


def test_choices_keep_the_log_likelihood_of_every_option(answered):
    """The choice that counts is the likeliest per character."""
    _, answers = answered
    for row in answers.loc["piqa"].to_dict("records"):
        yes, no = row["log_likelihood"]
        per_character = [yes / len("yes"), no / len("no")]
        chosen = per_character.index(max(per_character))
        assert row["parsed"] == str(chosen) and row["correct"] == (chosen == row["gold"])
        assert (row["kind"], row["text"]) == ("multiple_choice", None)


def test_generations_keep_their_text_and_what_was_parsed(answered):
    _, answers = answered
    generated = answers[answers["kind"] == "generation"]
    assert len(generated) == 11
    assert generated["text"].map(lambda text: isinstance(text, str)).all()
    assert generated[["log_likelihood", "gold"]].isna().all(axis=None)
    for row in answers.loc["asdiv"].to_dict("records"):
        expected = last_number(row["text"])
        found = None if row["parsed"] is None else Fraction(row["parsed"])
        assert found == expected


def test_no_prompt_and_no_text_of_a_benchmark_is_kept(answered, material):
    """The file's bytes, uncompressed."""
    _, answers = answered
    kept = answers.reset_index().to_json()
    assert QUESTION not in kept and "What is" not in kept
    prompts = [json.loads(line)["prompt"] for line in (material / "esci/test.jsonl").open()]
    assert not any(prompt[:40] in kept for prompt in prompts)


def test_the_same_answers_are_the_same_bytes(tmp_path):
    answers = [
        Answer("piqa", "p", Said("multiple_choice", None, "1", [-3.25, -1.5], 1), True),
        Answer("d", "ü", Said("generation", "Say 4\u2028.", "4"), False),
        Answer("d", "broken", Said("generation", "?"), None),
    ]
    for name in ("a", "b"):
        write_answers(tmp_path / name / "answers.parquet", iter(answers))
    first, second = ((tmp_path / name / "answers.parquet").read_bytes() for name in "ab")
    assert first == second
    back = read_answers(tmp_path / "a").to_dict("records")
    assert [row["correct"] for row in back] == [True, False, None]
    assert list(back[0]["log_likelihood"]) == [-3.25, -1.5] and back[0]["gold"] == 1
    assert back[1]["text"] == "Say 4\u2028." and back[2]["parsed"] is None


def test_an_item_that_several_filters_read_is_kept_with_the_one_that_counts():
    """As GSM8K's, of which lm-eval logs an entry per filter of the answer."""
    benchmark = BENCHMARKS["gsm8k"]
    doc = {"id": "g1"}
    log = [
        {"filter": name, "doc": doc, "resps": [["so #### 5"]], "filtered_resps": [found]}
        | {"metrics": ["exact_match"], "exact_match": value}
        for name, found, value in (("flexible-extract", "7", 0.0), ("strict-match", "5", 1.0))
    ]
    kept = list(
        graded(
            lambda samples: benchmark.rows("gsm8k", samples),
            "exact_match_strict",
            lambda sample: Said("generation", sample["resps"][0][0], benchmark.parsed(sample)),
            log,
        )
    )
    assert kept == [Answer("gsm8k", "g1", Said("generation", "so #### 5", "5"), True)]


def test_an_answer_whose_grader_failed_is_neither_right_nor_wrong():
    rows = [("b", "i", "other", 1.0, 1.0), ("b", "i", "acc", math.nan, 1.0)]
    (answer,) = graded(lambda _: rows, "acc", lambda _: Said("generation", "x"), [{}])
    assert answer.correct is None


@pytest.mark.parametrize(("by_length", "chosen"), [(False, "0"), (True, "1")])
def test_per_character_a_longer_option_may_win(by_length, chosen):
    """−2 nats for 1 character, −3 for 6."""
    sample = {
        "doc": {"choices": ["a", "apples"], "gold": 1},
        "filtered_resps": [(-2.0, False), (-3.0, False)],
    }
    assert _chosen(sample, by_length) == Said("multiple_choice", None, chosen, [-2.0, -3.0], 1)
