"""From the user's data and model to a study file, or to a list of all problems."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sft_tradeoff import cli
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.own import domain as own_data
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.models.spec import built_model
from sft_tradeoff.models.tokenization import tokenize_example
from sft_tradeoff.models.tokenized import TokenizationError
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.planning import own
from sft_tradeoff.planning import own_template as own_file
from sft_tradeoff.planning.own import own_study
from sft_tradeoff.planning.own_template import write_study
from sft_tradeoff.study.config import load_study
from sft_tradeoff.study.runs import expand_runs
from sft_tradeoff.system.console import UserError

MODEL = "random-2layer"
Line = dict[str, Any]


def write(path: Path, lines: Sequence[Line | str]) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def questions(n: int, **keys: Any) -> list[Line]:
    return [{"prompt": f"Question {i}?", "response": f"Reply {i}", **keys} for i in range(n)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "my data.v2.jsonl", questions(50))


def domain_of(data: Path, **options: Any) -> Line:
    (domain,) = own_study(data, MODEL, **options)["domains"]
    return domain


def problems_of(data: Path, model: str = MODEL, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        own_study(data, model, **options)
    return str(caught.value)


# --- The study file --------------------------------------------------------------------------


def test_the_study_file_is_valid_and_trains_what_the_template_says(
    data: Path, tmp_path: Path
) -> None:
    """One model and domain, one learning rate to begin with for each of two methods."""
    study = own_study(data, MODEL)
    assert re.fullmatch(r"own-my-data-v2-[0-9a-f]{8}", study["study"])
    path = write_study(study, tmp_path / "studies")
    assert path.stem == study["study"]
    runs = expand_runs(load_study(path))
    assert [run.learning_rate for run in runs] == [3e-5, 3e-5]
    assert load_study(path).refine is not None
    assert {run.method.name for run in runs} == {"sft", "talr"}
    domain = runs[0].domain
    assert (domain.path, domain.label) == (str(data), "own-my-data-v2")
    assert (domain.n_test, domain.n_validation, domain.n_train) == (10, 0, 200)
    assert [len(split) for split in own_data.generate(domain).values()] == [40, 0, 10]


def test_two_data_sets_of_one_name_do_not_collide(tmp_path: Path) -> None:
    a = write(tmp_path / "a/data.jsonl", questions(10))
    b = write(tmp_path / "b/data.jsonl", questions(11))
    copy = write(tmp_path / "c/data.jsonl", questions(10))
    names = [own_study(path, MODEL)["study"] for path in (a, b, copy)]
    assert names[0] != names[1] and names[0] == names[2]
    assert own_study(a, "smollm2-135m-instruct")["study"] not in names
    numeric = write(tmp_path / "n/data.jsonl", questions(10, answer="7", response="7"))
    assert own_study(numeric, MODEL, "numeric")["study"] != own_study(numeric, MODEL)["study"]


def test_a_numeric_tolerance_is_an_option_of_its_own(tmp_path: Path) -> None:
    numbers = [{"prompt": f"{i}?", "response": str(10**i)} for i in range(10)]
    data = write(tmp_path / "d.jsonl", numbers)
    exact, within = (
        own_study(data, MODEL, "numeric", numeric_tolerance=text) for text in ("", "0.01")
    )
    assert exact["study"] != within["study"]
    assert within["domains"][0]["tolerance"] == 0.01 and "tolerance" not in exact["domains"][0]
    assert "'tolerance' belongs to metric 'numeric', not 'exact_match'" in problems_of(
        data, numeric_tolerance="0.01"
    )
    text = problems_of(data, metric="numeric", numeric_tolerance="0,01")
    assert text.startswith("numeric tolerance: '0,01' is not a number; give the relative error")


def test_columns_are_an_option_of_their_own(tmp_path: Path) -> None:
    """Read in another way, the same file is another study."""
    rows = [{"a": f"Question {i}?", "b": f"Reply {i}", "c": f"Other {i}"} for i in range(10)]
    data = write(tmp_path / "d.jsonl", rows)
    assert 'name them with DATA_COLUMNS="prompt=... response=..."' in problems_of(data)
    one, other = (own_study(data, MODEL, columns=f"prompt=a response={key}") for key in ("b", "c"))
    assert one["study"] != other["study"]
    assert one["domains"][0]["columns"] == {"prompt": "a", "response": "b"}
    path = write_study(one, tmp_path / "studies")
    assert load_study(path).domains[0].columns == {"prompt": "a", "response": "b"}
    assert "    columns: {prompt: a, response: b}  # DATA_COLUMNS=: " in path.read_text()
    named = one | {"study": other["study"]}
    write_study(other, tmp_path / "studies")
    with pytest.raises(UserError, match="is taken"):
        write_study(named, tmp_path / "studies")
    text = problems_of(data, columns="promptt=a", model="none", metric="numeric")
    assert text.startswith("data columns: 'promptt=a' cannot be read; write name=key")
    assert "DATA_COLUMNS (in a study file, columns) names prompt: it" in problems_of(
        data, columns="prompt=a"
    )


def test_a_folder_of_splits_is_data_too(tmp_path: Path) -> None:
    write(tmp_path / "my data/train.jsonl", questions(20))
    write(tmp_path / "my data/test.jsonl", [{"prompt": f"T{i}", "response": "r"} for i in range(3)])
    study = own_study(tmp_path / "my data", MODEL)
    assert re.fullmatch(r"own-my-data-[0-9a-f]{8}", study["study"])
    path = write_study(study, tmp_path / "studies")
    splits = own_data.generate(load_study(path).domains[0])
    assert [len(split) for split in splits.values()] == [20, 0, 3]
    assert write_study(study, tmp_path / "studies") == path
    write(tmp_path / "my data/train.jsonl", questions(21))
    assert own_study(tmp_path / "my data", MODEL)["study"] != study["study"]


@pytest.mark.parametrize(("n", "n_test"), [(10, 2), (14, 2), (15, 3), (500, 100), (1000, 100)])
def test_a_fifth_is_kept_for_the_test_up_to_a_limit(tmp_path: Path, n: int, n_test: int) -> None:
    data = write(tmp_path / "d.jsonl", questions(n))
    assert domain_of(data)["n_test"] == n_test


def test_copies_of_a_prompt_count_once(tmp_path: Path) -> None:
    """Nine prompts, each three times: below the ten that are needed."""
    assert "has 9 different prompts" in problems_of(write(tmp_path / "d.jsonl", questions(9) * 3))
    assert domain_of(write(tmp_path / "d.jsonl", questions(10) * 3))["n_test"] == 2


def test_splits_of_the_file_are_kept(tmp_path: Path) -> None:
    """30 of 40 lines are marked test: more than a fifth, and all of them are asked."""
    lines = questions(40)
    for i, line in enumerate(lines):
        line["split"] = "train" if i < 10 else "test"
    assert domain_of(write(tmp_path / "d.jsonl", lines))["n_test"] == 30
    for line in lines[11:]:
        line["split"] = "train"
    problem = problems_of(write(tmp_path / "d.jsonl", lines))
    assert "the lines with 'split': 'test' have 1 different prompt; test on at least 2" in problem


def test_lines_that_are_not_used_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of 40 lines 20 are for training, 10 for the test, and the 10 for validation are not read."""
    caplog.set_level(logging.INFO, "sft_tradeoff")
    lines = questions(40)
    for i, line in enumerate(lines):
        line["split"] = ("train", "train", "validation", "test")[i % 4]
    domain_of(write(tmp_path / "d.jsonl", lines))
    domain_of(write(tmp_path / "all.jsonl", questions(40)))
    marked, unmarked = (record.message for record in caplog.records)
    assert marked.endswith(
        "20 training examples, 10 test examples (few, so only large effects will show), 10 "
        "left out (10 marked 'validation', which this "
        "study does not read)"
    )
    assert unmarked.endswith("8 test examples (few, so only large effects will show), 0 left out")


def test_a_split_that_no_line_has(tmp_path: Path) -> None:
    lines = [*questions(10, split="train"), *questions(20, split="validation")[10:]]
    problem = problems_of(write(tmp_path / "d.jsonl", lines))
    assert problem.endswith(
        "  no line has 'split': 'test'; add it to some lines, or remove 'split' from all lines to "
        "have them divided"
    )


def test_one_answer_to_every_test_question_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [line | {"prompt": f"{line['prompt']}\n```\n# x\n````"} for line in questions(20)]
    path = write(tmp_path / "d.jsonl", [line | {"response": "OK"} for line in asked])
    spec = domain_spec(**domain_of(path))
    (warning,) = (r.message for r in caplog.records if r.levelno >= logging.WARNING)
    said = "all 4 test answers are 'OK': a model that always gives this answer is right"
    assert said in warning
    write_domain(spec, tmp_path / "out")
    card = (tmp_path / "out" / "card.md").read_text()
    assert f"- A{said[1:]}" in card
    assert re.search(r"(?m)^`{5}text\nQuestion \d+\?\n```\n# x\n````\n`{5}$", card)
    assert "\n```text\nOK\n```\n" in card


def test_contradictory_answers_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines 21 to 24 ask questions 0 to 3 again with another answer; line 25 repeats line 5."""
    again = [{"prompt": f" question {i}?", "response": "No"} for i in range(4)]
    same = [{"prompt": "Question 4?", "response": "reply  4"}]
    domain_of(write(tmp_path / "d.jsonl", [*questions(20), *same]))
    differing = "prompts have different answers"
    assert differing not in caplog.text
    domain_of(write(tmp_path / "d.jsonl", [*questions(20), *again, *same]))
    (warning,) = (message for message in caplog.messages if differing in message)
    found = "4 prompts have different answers (lines 1, 21; 2, 22; 3, 23; 4, 24); a"
    assert found in warning
    caplog.clear()
    domain_of(write(tmp_path / "d.jsonl", [*questions(20), again[0]]))
    (warning,) = (r.message for r in caplog.records if r.levelno >= logging.WARNING)
    assert "1 prompt has different answers (lines 1, 21); a model" in warning


def test_copies_of_a_prompt_are_asked_once(tmp_path: Path) -> None:
    """Else all test items could be copies of one."""
    data = write(tmp_path / "d.jsonl", questions(10) * 20)
    study = own_study(data, MODEL)
    (domain,) = load_study(write_study(study, tmp_path)).domains
    splits = own_data.generate(domain)
    assert len({example.prompt for example in splits["test"]}) == len(splits["test"]) == 2
    assert len(splits["train"]) == 160


def test_labels_are_counted_and_those_that_occur_once_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sft_tradeoff")
    lines = [{"prompt": f"{i}?", "response": "yes" if i % 2 else "no"} for i in range(21)]
    domain_of(
        write(tmp_path / "d.jsonl", [*lines, {"prompt": "x", "response": "odd"}]), metric="choice"
    )
    assert "labels with their numbers: 'no' 11, 'yes' 10, 'odd' 1" in caplog.text
    assert "warning: " in caplog.text and "1 of 3 labels occur once" in caplog.text


def test_there_is_one_smallest_number_of_prompts(tmp_path: Path) -> None:
    for n in (1, 2, 5, 9):
        problem = problems_of(write(tmp_path / "d.jsonl", questions(n)))
        assert f"has {n} different prompt{'s' * (n > 1)}; at least 10 are needed" in problem


# --- Lengths ---------------------------------------------------------------------------------


@pytest.fixture
def long_data(tmp_path: Path) -> Path:
    """The random model's tokens are bytes, and `<s>[USER] ` and ` [/USER] ` add 1 + 7 + 9 = 17."""
    lines = [*questions(20), *({"prompt": "x" * n, "response": "y"} for n in (750, 751, 2000))]
    return write(tmp_path / "long.jsonl", lines)


def too_long(data: Path, model: Path, folder: Path) -> str:
    study = own_study(data, str(model))
    with pytest.raises(UserError) as caught:
        write_study(study, folder)
    assert not list(folder.glob("*.yaml"))
    return str(caught.value)


def test_prompts_that_leave_no_room_are_refused_by_their_lines(
    long_data: Path, random_model: Path, tmp_path: Path
) -> None:
    """With max_length 768 a prompt of 750 bytes has 767 tokens, and one is left for a response."""
    assert too_long(long_data, random_model, tmp_path / "studies") == (
        f"path: {str(long_data)!r} cannot be used:\n"
        "  lines 22, 23: the prompt has more than 767 tokens, which leaves none for a response "
        "(line 22: 768 tokens)\n"
        "  shorten or remove these lines, or raise training.max_length (768) to 2019 in "
        "config/studies/own.yaml"
    )


def test_what_is_refused_is_what_could_not_be_tokenized(
    long_data: Path, random_model: Path
) -> None:
    tokenizer = load_tokenizer(random_model)
    refused = []
    for number, line in enumerate(long_data.read_text().splitlines(), start=1):
        try:
            tokenize_example(tokenizer, {"id": "x", **json.loads(line)}, 768)
        except TokenizationError:
            refused.append(number)
    assert refused == [22, 23]


def test_a_test_prompt_needs_room_for_the_answer_in_the_window(
    tmp_path: Path, random_model: Path
) -> None:
    """1024 tokens of window − 512 of the longest answer leave 512; 495 + 17 fit, 496 + 17 do not.

    The answer to be given has 511 bytes and an end; those that are only learned do not count.
    """
    lines = questions(13)
    for i, line in enumerate(lines):
        line["split"] = "train" if i < 10 else "test"
    lines[0]["response"] = "y" * 700
    lines[1]["prompt"] = "z" * 700  # trained on, not asked
    lines[10]["response"] = "y" * 511
    lines[11]["prompt"], lines[12]["prompt"] = "x" * 495, "x" * 496
    text = too_long(write(tmp_path / "d.jsonl", lines), random_model, tmp_path / "studies")
    assert [line for line in text.split("\n") if line.startswith("  line")] == [
        "  line 13: the prompt has more than 512 tokens, which leaves none for a response (line "
        "13: 513 tokens)"
    ]


def test_limits_that_the_user_raised_count(
    long_data: Path, random_model: Path, tmp_path: Path
) -> None:
    study = own_study(long_data, str(random_model))
    study["training"] |= {"max_length": 2040}
    study["evaluation"] |= {"max_length": 2048}
    path = write_study(study, tmp_path)
    assert write_study(own_study(long_data, str(random_model)), tmp_path) == path
    path.write_text(path.read_text().replace("max_length: 2040", "max_length: 700"))
    with pytest.raises(UserError, match=rf"lines 21, 22, 23: .*\n.* in {re.escape(str(path))}"):
        write_study(own_study(long_data, str(random_model)), tmp_path)


def test_a_model_in_the_cache_is_asked_and_one_that_is_not_fetched_is_not(
    long_data: Path, random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path / "cache"))
    study = own_study(long_data, MODEL)
    assert write_study(study, tmp_path / "a").is_file()
    shutil.copytree(random_model, built_model(tmp_path / "cache", MODEL))
    with pytest.raises(UserError, match=r"line 22: 768 tokens\)"):
        write_study(study, tmp_path / "b")


# --- Problems --------------------------------------------------------------------------------


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    lines: list[Line | str] = [*questions(16), '{"prompt": "x"', {"prompt": "y", "response": " "}]
    data = write(tmp_path / "bad.jsonl", lines)
    text = problems_of(data, "nosuch", name="a/b", tolerance="acuracy=1", smallest_gain="nll=2")
    assert [line.split(" is ")[0].split(" '")[0].strip()[:20] for line in text.split("\n")] == [
        "path:",
        "line 17: not valid J",
        "line 18:",
        "model:",
        "tolerance:",
        "smallest_gain:",
        "name:",
    ]
    assert str(data) in text


@pytest.mark.parametrize("n", [3, 9])
def test_too_few_prompts(tmp_path: Path, n: int) -> None:
    text = problems_of(write(tmp_path / "few.jsonl", questions(n)))
    assert text.endswith(
        f"few.jsonl' has {n} different prompts; at least 10 are needed: one in 5 is kept for the "
        "test, and a single test item gives no interval"
    )


def test_an_unknown_metric(data: Path) -> None:
    assert "METRIC: 'bleu' is unknown; choose one of choice, exact_match, numeric" in problems_of(
        data, metric="bleu"
    )


def test_comments_of_the_template_stay(data: Path, random_model: Path, tmp_path: Path) -> None:
    """All except those at the top, at the same keys; only values differ."""
    path = write_study(own_study(data, str(random_model)), tmp_path)
    template = own_file.TEMPLATE.read_text()
    rest = template[template.index("study: ") :].splitlines()
    written = path.read_text().splitlines()[1:]
    for old, new in zip(rest, written, strict=False):
        assert old.split(":")[0] == new.split(":")[0]
        assert old.partition("  #")[2] == new.partition("  #")[2]
    assert "max_new_tokens: null  # of an answer" in path.read_text()
    assert "  # at most; make own takes a fifth" in path.read_text()


def test_values_that_need_care_in_yaml(tmp_path: Path) -> None:
    odd = tmp_path / "a: b # 'c' \\1, [ü].jsonl"
    study = own_study(write(odd, questions(10)), MODEL)
    path = write_study(study, tmp_path)
    assert yaml.safe_load(path.read_text()) == study
    assert "# DATA=: a file or folder" in path.read_text()


@pytest.mark.parametrize("models", ["[quick,\n  mine]", "\n  - quick", "[quick]"])
def test_a_template_in_another_style_still_gives_its_values(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: str
) -> None:
    template = yaml.safe_load(own_file.TEMPLATE.read_text())
    del template["models"]
    own_template = tmp_path / "own.yaml"
    own_template.write_text(f"models: {models}\n" + yaml.safe_dump(template, width=30))
    monkeypatch.setattr(own_file, "TEMPLATE", own_template)
    study = own_study(data, MODEL)
    path = write_study(study, tmp_path)
    assert yaml.safe_load(path.read_text()) == study
    assert f"# Comments: {own_template}\n" in path.read_text()


def test_a_study_file_that_the_user_changed_is_kept(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sft_tradeoff")
    study = own_study(data, MODEL, name="mine")
    path = write_study(study, tmp_path)
    caplog.clear()
    changed = yaml.safe_load(path.read_text()) | {"seeds": [0, 1]}
    path.write_text(yaml.safe_dump(changed))
    assert write_study(study, tmp_path) == path
    assert load_study(path).seeds == (0, 1)
    (record,) = caplog.records
    assert "TOLERANCE and SMALLEST_GAIN, if given, take precedence" in record.message


def test_a_kept_study_whose_data_have_changed_is_refused(tmp_path: Path) -> None:
    """The same content elsewhere is asked for, while the kept study would read what is new."""
    first, backup = tmp_path / "a.jsonl", tmp_path / "old/a.jsonl"
    write(first, questions(20))
    write(backup, questions(20))
    path = write_study(own_study(first, MODEL), tmp_path)
    assert write_study(own_study(backup, MODEL), tmp_path) == path
    write(first, questions(21))
    for _ in range(2):
        with pytest.raises(UserError, match="have changed or are missing; choose another"):
            write_study(own_study(backup, MODEL), tmp_path)
        first.unlink(missing_ok=True)


def test_a_kept_study_whose_model_has_changed_is_refused(
    data: Path, random_model: Path, tmp_path: Path
) -> None:
    first, second = (tmp_path / name / "net" for name in "ab")
    for folder in (first, second):
        shutil.copytree(random_model, folder)
    path = write_study(own_study(data, str(first)), tmp_path)
    assert write_study(own_study(data, str(second)), tmp_path) == path
    (first / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(UserError, match="have changed or are missing"):
        write_study(own_study(data, str(second)), tmp_path)


def test_the_same_data_under_another_file_name_are_the_same_study(tmp_path: Path) -> None:
    one, other = (
        write(tmp_path / name, questions(20)) for name in ("my data.jsonl", "my-data.jsonl")
    )
    assert write_study(own_study(one, MODEL), tmp_path) == write_study(
        own_study(other, MODEL), tmp_path
    )


def test_another_metric_under_the_same_name_is_another_study(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", [{"prompt": f"{i}?", "response": str(i)} for i in range(20)])
    write_study(own_study(data, MODEL, name="exact", metric="numeric"), tmp_path)
    near = own_study(data, MODEL, name="exact", metric="numeric", numeric_tolerance="0.01")
    with pytest.raises(UserError, match=r"name: 'exact' is taken: .* or another grading"):
        write_study(near, tmp_path)
    write_study(own_study(data, MODEL, name="mine"), tmp_path)
    with pytest.raises(UserError, match="name: 'mine' is taken"):
        write_study(own_study(data, MODEL, name="mine", metric="numeric"), tmp_path)


@pytest.mark.parametrize(
    "text", ["", "domains: []", "models: [x]", "domains: {", "- 1", "domains: [1]", None]
)
def test_a_template_that_is_no_study_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    template = tmp_path / "own.yaml"
    if text is not None:
        template.write_text(text)
    monkeypatch.setattr(own_file, "TEMPLATE", template)
    with pytest.raises(UserError, match=r"(?s)own.yaml: not a study .*; correct it, or restore"):
        own_study(data, MODEL)


def test_a_template_may_leave_out_what_has_a_default(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Templates without `max_new_tokens` still work; a value of a wrong type is named."""
    template = yaml.safe_load(own_file.TEMPLATE.read_text())
    for key in ("metric", "n_train", "n_test", "max_new_tokens", "label"):
        del template["domains"][0][key]
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(template))
    monkeypatch.setattr(own_file, "TEMPLATE", path)
    (domain,) = own_study(data, MODEL)["domains"]
    assert (domain["metric"], domain["n_test"], domain["max_new_tokens"]) == (
        "exact_match",
        10,
        None,
    )
    template["domains"][0]["n_test"] = "many"
    path.write_text(yaml.safe_dump(template))
    assert "n_test" in problems_of(data)


def test_assets_of_the_template_stay_with_a_model_folder(
    data: Path, random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.yaml"
    extra = "assets:\n  mine: {source: local, path: here}\n"
    path.write_text(own_file.TEMPLATE.read_text() + extra)
    monkeypatch.setattr(own_file, "TEMPLATE", path)
    study = own_study(data, str(random_model))
    assert "mine" in study["assets"] and len(study["assets"]) == 2


def test_a_name_that_yaml_cannot_hold_is_refused(
    data: Path, random_model: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "next\x85line"
    shutil.copytree(random_model, odd, ignore=shutil.ignore_patterns("*MODEL.json*"))
    with pytest.raises(UserError, match="characters that YAML cannot represent; rename the files"):
        write_study(own_study(data, str(odd)), tmp_path / "studies")


def test_answers_that_fill_the_window_are_not_the_datas_fault(data: Path, tmp_path: Path) -> None:
    path = write_study(own_study(data, MODEL), tmp_path)
    text = path.read_text().replace("max_new_tokens: null", "max_new_tokens: 1024")
    path.write_text(text)
    with pytest.raises(UserError, match=r"max_new_tokens: 1024 leaves no tokens for a prompt"):
        write_study(own_study(data, MODEL), tmp_path)


def test_a_name_that_is_taken_is_refused(data: Path, tmp_path: Path) -> None:
    write_study(own_study(data, MODEL, "numeric", name="mine"), tmp_path)
    other = write(tmp_path / "other.jsonl", questions(12))
    for study in (
        own_study(other, MODEL, "numeric", name="mine"),
        own_study(data, MODEL, "exact_match", name="mine"),
        own_study(data, MODEL, "numeric", name="mine", numeric_tolerance="0.05"),
    ):
        with pytest.raises(UserError, match=r"name: 'mine' is taken: .* or another grading"):
            write_study(study, tmp_path)
    with pytest.raises(UserError, match="name: 'quick' is taken"):
        write_study(own_study(data, MODEL, name="quick"), Path("config/studies"))


@pytest.fixture
def command(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command, with studies and results in a folder of the test."""
    monkeypatch.setattr(own, "STUDIES", tmp_path / "studies")
    monkeypatch.setattr(own, "RESULTS", tmp_path / "results")
    return ["own", "--data", str(data), "--model", MODEL]


def test_the_command_prints_the_name_or_writes_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--write-only", "--tolerance", "1"])
    assert stopped.value.code == 1 and not (tmp_path / "studies").exists()
    assert "tolerance: '1' is not measure=number" in capsys.readouterr().err
    cli.main([*command, "--write-only", "--metric=", "--name=", "--numeric-tolerance="])
    (path,) = (tmp_path / "studies").iterdir()
    assert capsys.readouterr().out == f"{path.stem}\n"


def test_the_command_runs_the_study_and_prints_its_recommendation(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = []

    def run_study(name: str, *options: str) -> int:
        calls.append((name, *options))
        page = tmp_path / "results" / name / "recommendation.md"
        page.parent.mkdir(parents=True)
        page.write_text("# Take this.\n")
        return 0

    monkeypatch.setattr(own, "run_study", run_study)
    cli.main([*command, "--cores=2", "--tolerance=accuracy=0.5", "--name=mine"])
    assert calls == [("mine", "2", "accuracy=0.5", "")]
    text = capsys.readouterr().out
    assert "# Take this.\n" in text
    assert f"This page: {tmp_path}/results/mine/recommendation.md; figures" in text
    assert text.endswith(f"Settings: {tmp_path}/studies/mine.yaml\n")

    monkeypatch.setattr(own, "run_study", lambda *_: 130)
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--name=mine"])
    assert stopped.value.code == 130 and "Take this" not in capsys.readouterr().out


def test_data_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["own", "--data="])
    assert stopped.value.code == 1
    assert "DATA is missing; run make own DATA=<file or folder>" in capsys.readouterr().err
