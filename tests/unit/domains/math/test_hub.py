import logging

import pytest

from sft_tradeoff.domains.math.hub import TEST_COLUMNS, TRAIN_COLUMNS, generate, score
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.grading.text import text_id
from sft_tradeoff.system.records import RecordError
from tests.unit.domains.hub_files import metamath_row, write_gsm8k, write_metamath


def spec(**changes):
    sizes = {"n_train": 999, "n_validation": 0, "n_test": 4}
    return domain_spec(name="hub_metamath", **sizes | changes)


def test_prompt_and_target_by_hand(tmp_path):
    splits = generate(spec(), write_metamath(tmp_path / "m"), write_gsm8k(tmp_path / "g"))
    train = {example.id: example for example in splits["train"]}
    assert len(train) == 12
    example = train["metamathqa-000004"]  # the fourth row has i = 3
    assert example.prompt == (
        'How much is 3 + 3?\n\nReason step by step and finish with "The answer is: <answer>".'
    )
    assert example.response == "He has 3 and 3.\n#### 6\nThe answer is: 6"
    original = text_id("Question 1")
    assert (example.answer, example.meta) == ("6", {"type": "GSM_Rephrased", "original": original})
    (test,) = (example for example in splits["test"] if example.id == "gsm8k-test-00003")
    assert test.prompt.startswith("Test question 2?\n\nReason") and test.answer == "1002"
    assert test.response == "It is 1000+2 = $1,002.\n#### 1,002\nThe answer is: 1002"
    assert test.meta == {"question": "Test question 2?", "n_annotations": 1}
    assert score(test.to_dict(), test.response).correct


@pytest.mark.parametrize(
    ("annotated", "plain", "n"),
    [
        ("She sold 48/2 = <<48/2=24>>24 clips in May.", "She sold 48/2 = 24 clips in May.", 1),
        ("80,000+50,000=$<<80000+50000=130000>>130,000", "80,000+50,000=$130,000", 1),
        ("a profit of $<<125=125>>125", "a profit of $125", 1),
        ("4*4 = $<<4*4=16.00>>16.00", "4*4 = $16.00", 1),
        ("3*2=<<3*2=6>>6 and 6+1=<<6+1=7>>7\n7-.5=<<7-.5=6.5>>6.5", "3*2=6 and 6+1=7\n7-.5=6.5", 3),
        ("1 << x >> 0, so x = 5", "1 << x >> 0, so x = 5", 0),
        ("x << 3\ny = 4 >> 1", "x << 3\ny = 4 >> 1", 0),
    ],
)
def test_calculator_annotations_are_in_no_response(tmp_path, annotated, plain, n):
    rows = [metamath_row(1, "A?") | {"response": f"{annotated}\n#### 7\nThe answer is: 7"}]
    tests = [{"question": "B?", "answer": f"{annotated}\n#### 7"}]
    sources = write_metamath(tmp_path / "m", rows), write_gsm8k(tmp_path / "g", tests)
    splits = generate(spec(n_test=1), *sources)
    for split in ("train", "test"):
        (example,) = splits[split]
        assert example.response == f"{plain}\n#### 7\nThe answer is: 7"
        remark = (
            f"{n} calculator annotations (`<<48/2=24>>`) are removed from {min(n, 1)} of 1 {split}"
        )
        assert any(line.startswith(remark) for line in splits.remarks)


def test_an_answer_that_is_not_a_number_and_one_that_is_missing(tmp_path):
    """MATH's answers are expressions, so the prompt does not ask for a number."""
    rows = [metamath_row(1, "A?") | {"response": "So.\nThe answer is: \\frac{1}{2}"}]
    rows.append(metamath_row(2, "B?") | {"response": "I cannot tell."})
    splits = generate(spec(), write_metamath(tmp_path / "m", rows), write_gsm8k(tmp_path / "g"))
    assert {example.answer for example in splits["train"]} == {"\\frac{1}{2}", ""}
    assert "number" not in splits["train"][0].prompt
    assert splits.remarks[-1] == '1 of 2 train responses lack the line "The answer is: ...".'


def test_no_test_question_is_trained_on_nor_its_rewriting(tmp_path, caplog):
    rows = [
        metamath_row(1, "TEST question  1?", "Question 1"),
        metamath_row(2, "A rewriting", "Test question 3?"),
        metamath_row(3, "Test question 9?"),
    ]
    sources = write_metamath(tmp_path / "m", rows), write_gsm8k(tmp_path / "g")
    with caplog.at_level(logging.WARNING):
        splits = generate(spec(n_test=1), *sources)  # whichever of the four is drawn
    assert [example.id for example in splits["train"]] == ["metamathqa-000003"]
    assert "2 of 3 training rows (66.67%) are left out: their question is in GSM8K" in caplog.text


def test_validation_takes_all_rewritings_of_a_question(tmp_path):
    """Six questions of two rewritings: three of validation touch two, so four train: 8 rows."""
    sources = write_metamath(tmp_path / "m"), write_gsm8k(tmp_path / "g")
    splits = generate(spec(n_validation=3), *sources)
    assert (len(splits["validation"]), len(splits["train"])) == (3, 8)
    original = {s: {(int(e.id[-6:]) - 1) // 2 for e in splits[s]} for s in ("train", "validation")}
    assert original["train"].isdisjoint(original["validation"])


@pytest.mark.parametrize(
    ("generation", "parsed"),
    [
        ("#### 1,005", "1005"),
        ("The answer is: 1005", "1005"),
        ("So.\n#### 1005\nThe answer is: 1005", "1005"),
        ("The answer is: $1,005.00 in 3 days", "1005"),
        ("the answer is **1005**.", "1005"),
        ("#### 7\nNo. The answer is: 8", "8"),
        ("The answer is: unknown\n1 + 2", "2"),
        ("He pays 3 and then 4", "4"),
        ("The answer is: -12.50", "-12.5"),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_score(generation, parsed):
    found = score({"answer": "1005"}, generation)
    assert found.parsed == parsed
    assert found.correct == (parsed == "1005")
    assert found.format_failure == (parsed is None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"query": ""}, "row 2: 'query' is '', not a text"),
        ({"response": None}, "row 2: 'response' is None, not a text"),
        ({"original_question": " "}, "row 2: 'original_question' is ' ', not a text"),
    ],
)
def test_a_defect_of_metamathqa_is_named(tmp_path, changes, words):
    rows = [metamath_row(1, "a"), metamath_row(2, "b") | changes]
    sources = write_metamath(tmp_path / "m", rows), write_gsm8k(tmp_path / "g")
    with pytest.raises(RecordError, match=f"MetaMathQA-395K.json, {words}"):
        generate(spec(), *sources)


@pytest.mark.parametrize("answer", ["7", "#### seven", "#### 7\nor 8"])
def test_a_gold_answer_without_its_mark_is_named(tmp_path, answer):
    gsm8k = write_gsm8k(tmp_path / "g", [{"question": "A?", "answer": answer}])
    with pytest.raises(RecordError, match=r"test-.*\.parquet, row 1: 'answer' does not end in"):
        generate(spec(n_test=1), write_metamath(tmp_path / "m"), gsm8k)


@pytest.mark.parametrize("column", [*TRAIN_COLUMNS, *TEST_COLUMNS])
def test_a_missing_column_is_named(tmp_path, column):
    rows = [{k: v for k, v in metamath_row(1, "a").items() if k != column}]
    tests = [{k: v for k, v in {"question": "A?", "answer": "#### 1"}.items() if k != column}]
    sources = write_metamath(tmp_path / "m", rows), write_gsm8k(tmp_path / "g", tests)
    with pytest.raises(RecordError, match=f"no column '{column}'"):
        generate(spec(n_test=1), *sources)
