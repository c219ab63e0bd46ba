import csv
import logging

import pytest

from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.medcalc.generated import CALCULATORS
from sft_tradeoff.domains.medcalc.grading import score
from sft_tradeoff.domains.medcalc.hub import COLUMNS, OUTPUT_TYPES, cluster, generate
from sft_tradeoff.domains.registry import domain_spec, get_domain
from sft_tradeoff.study.config import load_study
from sft_tradeoff.system.records import RecordError
from tests.unit.domains.hub_files import (
    A_TUPLE,
    AGE,
    DUE,
    MEDCALC_TEST,
    MEDCALC_TRAIN,
    ONLY_A_DATE,
    medcalc_row,
    write_medcalc,
)


def spec(**changes):
    sizes = {"n_train": 99, "n_validation": 0, "n_test": 6}
    return domain_spec(name="hub_medcalc", **sizes | changes)


def by_number(examples):
    return {int(example.id[-5:]): example for example in examples}


def test_prompt_and_target_by_hand(tmp_path):
    source = write_medcalc(tmp_path / "m")
    example = by_number(generate(spec(), source)["test"])[2]
    assert example.prompt == (
        "Patient note: A 52-year-old patient, \nconfused.\n\n"
        "Question: What is the value of calculator 28?\n\n"
        'Explain the calculation, then end with the line "Final answer: <whole number>".'
    )
    explanation = "By the formula the answer is 21.0.\nHence 21.0."
    assert example.response == f"{explanation}\nFinal answer: 21"
    short = by_number(generate(spec(variant="label_only"), source)["test"])[2]
    assert short.response == "Final answer: 21"
    assert short.prompt.endswith('Reply with one line only: "Final answer: <whole number>".')


@pytest.mark.parametrize(
    ("number", "answer", "right", "wrong"),
    [
        (1, "25.238", "26.5", "26.51"),  # the item's own limits: 23.976 to 26.5
        (2, "21", "20.6 points", "20.4"),  # rounds to 21
        (3, "03/04/2004", "March 4, 2004", "04/03/2004"),
        (4, "17 weeks, 1 days", "17 weeks and 1 day", "17 weeks"),
        (6, "-5", "-5.2", "5.2"),  # limits of a negative truth are swapped: -5.25 to -4.75
    ],
)
def test_every_type_is_graded_by_the_benchmarks_rule(tmp_path, number, answer, right, wrong):
    example = by_number(generate(spec(), write_medcalc(tmp_path / "m"))["test"])[number]
    record = example.to_dict()
    assert example.answer == answer
    assert score(record, example.response).correct
    assert score(record, f"So it is.\nFinal answer: {right}").correct
    assert not score(record, f"Final answer: {wrong}").correct
    assert score(record, "I do not know.").format_failure


def test_a_prompt_of_the_test_is_not_trained_on_but_the_tests_own_copies_stay(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        splits = generate(spec(), write_medcalc(tmp_path / "m"))
    assert sorted(by_number(splits["train"])) == list(range(2, 10))
    remark = "1 of 9 training rows (11.11%) are left out: their prompt is in the test split."
    assert remark in caplog.text and remark in splits.remarks
    assert len(splits["test"]) == 6 and len({e.id for e in splits["test"]}) == 6


CONCEPTION = ONLY_A_DATE.replace("response", "answer").replace("no other", "not other")


@pytest.mark.parametrize("variant", ["cot", "label_only"])
@pytest.mark.parametrize(
    ("question", "asked", "form"),
    [
        (DUE["Question"], "What is the patient's estimated due date?", ONLY_A_DATE),
        (AGE["Question"], "What is the patient's estimated gestational age?", A_TUPLE),
        (f"When was it?  {CONCEPTION}\n", "When was it?", CONCEPTION),
        (f"When? {A_TUPLE} You should use the note.", "When? You should use the note.", A_TUPLE),
        ("When is it due?", "When is it due?", None),
    ],
)
def test_no_question_about_a_date_forbids_what_is_asked_for(
    tmp_path, variant, question, asked, form
):
    id, answer = ("69", "('17 weeks', '1 days')") if form == A_TUPLE else ("68", "3/4/2004")
    test = [medcalc_row(1, id, "A note.", answer, Question=question)]
    source = write_medcalc(tmp_path / "m", test=test)
    splits = generate(spec(variant=variant, n_test=1), source)
    (example,) = splits["test"]
    assert example.prompt.startswith(f"Patient note: A note.\n\nQuestion: {asked}\n\n")
    assert example.meta.get("own_form") == form
    n = int(form is not None)
    assert splits.remarks[-1].endswith(
        f": 0 of 9 in train, 0 of 0 in validation, {n} of 1 in test."
    )


def test_units_that_a_question_names_stay(tmp_path):
    question = "What is the patient's body mass mass index (BMI)? Your answer should be in kg/m²."
    test = [medcalc_row(1, "6", "A note.", "20.0", Question=question)]
    splits = generate(spec(n_test=1), write_medcalc(tmp_path / "m", test=test))
    assert f"Question: {question}\n" in splits["test"][0].prompt


def test_shared_and_repeated_notes_are_counted_among_what_is_drawn(tmp_path):
    """Notes 1 to 3 have questions in both splits; note 0 has three in the test, one repeated."""
    train = [medcalc_row(i, "2", f"Note {i}.", "1.0") for i in (1, 2, 3, 4)]
    test = [medcalc_row(i, "28", f"NOTE {i}.", "1") for i in (1, 2, 3, 0, 0)]
    test.append(medcalc_row(9, "4", "Note 0.", "1"))
    source = write_medcalc(tmp_path / "m", train, test)
    drawn = generate(spec(), source)
    assert "1 of 6 test questions repeat another one" in drawn.remarks[2]
    note = {e.prompt.split("\n")[0].lower(): cluster(e.to_dict()) for e in drawn["test"]}
    assert len(note) == len(set(note.values())) == 4
    write_domain(spec(), tmp_path / "out", [source])
    card = (tmp_path / "out" / "card.md").read_text()
    assert "**Independent unit:** note (4 in the test)\n" in card
    assert "3 of 6 test examples share their note with training." in card
    one = generate(spec(n_train=1, n_test=1), source)
    assert "0 of 1 test questions repeat" in one.remarks[2]


def test_the_longest_explanations_fit():
    """In the paper's study, with the longest note that fits into a prompt.

    Of the benchmark's texts that were read, APACHE II's were the longest: 8,000 characters. Texts
    so full of numbers have at least 2.2 characters a token where each digit is one.
    """
    study = load_study("config/studies/paper.yaml")
    longest = 8000 / 2.2
    answer = get_domain("hub_medcalc").max_new_tokens["cot"]
    assert longest < answer
    assert study.training.max_length >= answer + 4096
    assert study.evaluation.max_length >= answer + study.training.max_length


def test_validation_takes_whole_notes_and_the_draw_is_repeatable(tmp_path):
    source = write_medcalc(tmp_path / "m")
    drawn = [generate(spec(n_validation=3, seed=seed), source) for seed in (0, 0, 1)]
    for splits in drawn:
        notes = [{e.prompt.split("\n\n")[0] for e in splits[s]} for s in ("train", "validation")]
        # Four notes of two rows each: three rows are one note and half of another.
        assert len(notes[1]) == 2 and len(splits["train"]) == 4 and notes[0].isdisjoint(notes[1])
        assert (
            "1 of 8 training rows (12.50%) are left out: they share their note" in splits.remarks[1]
        )
    assert drawn[0] == drawn[1] != drawn[2]


def test_n_train_is_an_upper_limit(tmp_path):
    source = write_medcalc(tmp_path / "m")
    few = generate(spec(n_train=3), source)["train"]
    assert few == generate(spec(), source)["train"][:3]
    with pytest.raises(ValueError, match=r"n_test: 7 examples requested, .* n_test <= 6"):
        generate(spec(n_test=7), source)


@pytest.mark.parametrize(
    ("changes", "column", "words"),
    [
        ({"Patient Note": " "}, "Patient Note", "is ' ', not a text"),
        ({"Question": ""}, "Question", "not a text"),
        ({"Ground Truth Explanation": ""}, "Ground Truth Explanation", "not a text"),
        ({"Calculator ID": "999"}, "Calculator ID", "'999', which the benchmark's grading rule"),
        ({"Ground Truth Answer": "n/a"}, "Ground Truth Answer", "'n/a', not a valid decimal"),
        ({"Lower Limit": "none"}, "Lower Limit", "'none', not a number"),
    ],
)
def test_a_defect_is_named_by_file_row_and_column(tmp_path, changes, column, words):
    train = [*MEDCALC_TRAIN, medcalc_row(30, "2", "A note.", "1.0", **changes)]
    source = write_medcalc(tmp_path / "m", train)
    with pytest.raises(RecordError) as error:
        generate(spec(), source)
    assert str(error.value).startswith(f"{source}/train_data.csv, row 10: {column!r} is ")
    assert words in str(error.value)


def test_label_only_needs_no_explanation(tmp_path):
    train = [medcalc_row(1, "2", "A note.", "1.0", **{"Ground Truth Explanation": ""})]
    source = write_medcalc(tmp_path / "m", train)
    assert generate(spec(variant="label_only"), source)["train"][0].response == "Final answer: 1"


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path, column):
    source = write_medcalc(tmp_path / "m")
    rows = [{k: v for k, v in row.items() if k != column} for row in MEDCALC_TEST]
    with open(source / "test_data.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(RecordError, match=f"test_data.csv, row 1: no column '{column}'"):
        generate(spec(), source)


def test_the_types_are_those_of_the_generated_domain():
    """55 calculators; the generated domain has its own table of 31 of them."""
    type_of = {id: name for name, ids in OUTPUT_TYPES.items() for id in ids}
    assert sum(map(len, OUTPUT_TYPES.values())) == len(type_of) == 55
    for calculator in CALCULATORS:
        assert type_of[calculator.id] == calculator.output_type, calculator.name
    assert get_domain("hub_medcalc").labels == ()
