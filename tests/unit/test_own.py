"""From the user's data and model to a study file, or to all that is wrong with them at once."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sft_tradeoff import own
from sft_tradeoff.config import load_study
from sft_tradeoff.console import UserError
from sft_tradeoff.domains import jsonl
from sft_tradeoff.own import find_model, own_study, write_study
from sft_tradeoff.runs import expand_runs

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
    """One model and domain, five learning rates for each of two methods: ten runs."""
    study = own_study(data, MODEL)
    assert re.fullmatch(r"own-my-data-v2-[0-9a-f]{8}", study["study"])
    path = write_study(study, tmp_path / "studies")
    assert path.stem == study["study"]
    runs = expand_runs(load_study(path))
    assert len(runs) == 10
    assert {run.method.name for run in runs} == {"sft", "talr"}
    domain = runs[0].domain
    assert (domain.path, domain.label) == (str(data), "own-my-data-v2")
    assert (domain.n_test, domain.n_validation, domain.n_train) == (10, 0, 200)
    assert [len(split) for split in jsonl.generate(domain).values()] == [40, 0, 10]


def test_two_data_sets_of_one_name_do_not_collide(tmp_path: Path) -> None:
    a = write(tmp_path / "a/data.jsonl", questions(10))
    b = write(tmp_path / "b/data.jsonl", questions(11))
    copy = write(tmp_path / "c/data.jsonl", questions(10))
    names = [own_study(path, MODEL)["study"] for path in (a, b, copy)]
    assert names[0] != names[1] and names[0] == names[2]
    assert own_study(a, "smollm2-135m-instruct")["study"] not in names
    numeric = write(tmp_path / "n/data.jsonl", questions(10, answer="7", response="7"))
    assert own_study(numeric, MODEL, "numeric")["study"] != own_study(numeric, MODEL)["study"]


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
    assert "has 1 line with split 'test'; mark 2 or more: a single" in problem


@pytest.mark.parametrize(("length", "tokens"), [(1, 16), (100, 58), (10_000, 512)])
def test_the_room_for_answers_fits_the_longest_response(
    tmp_path: Path, length: int, tokens: int
) -> None:
    """100 bytes: 50 tokens of two bytes, and 8 to spare."""
    lines = [*questions(12), {"prompt": "Long?", "response": "x" * length}]
    for line in lines[:12]:
        line["response"] = "y"
    assert domain_of(write(tmp_path / "d.jsonl", lines))["max_new_tokens"] == tokens


# --- The model -------------------------------------------------------------------------------


def test_a_folder_is_named_after_its_content(random_model: Path, tmp_path: Path) -> None:
    """Models are cached by name: two of one folder name must not be taken for each other."""
    (tmp_path / "x").mkdir()
    one, other = tmp_path / "my.model", tmp_path / "x/my.model"
    shutil.copytree(random_model, one)
    shutil.copytree(random_model, other)
    name = find_model(str(one)).name
    assert re.fullmatch(r"my-model-[0-9a-f]{8}", name)
    assert find_model(str(other)).name == name
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    assert find_model(str(other)).name != name
    config = json.loads((one / "config.json").read_text())
    (one / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    assert find_model(str(one)).name != name


def test_a_folder_in_the_study_file(data: Path, random_model: Path, tmp_path: Path) -> None:
    study = own_study(data, str(random_model))
    parsed = load_study(write_study(study, tmp_path))
    (name,) = parsed.models
    assert parsed.assets[name].path == str(random_model)  # type: ignore[union-attr]
    assert parsed.model_catalogue[name].format == "safetensors"


def test_models_that_cannot_be_used(random_model: Path, tmp_path: Path) -> None:
    cases = {
        "smolm2-135m-instruct": "did you mean 'smollm2-135m-instruct'",
        str(tmp_path): "has no config.json; give the folder that save_pretrained wrote",
        str(random_model / "config.json"): "is a file; give the folder",
    }
    for model, words in cases.items():
        with pytest.raises(UserError, match=re.escape(words)):
            find_model(model)
    broken = tmp_path / "broken"
    shutil.copytree(random_model, broken)
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickles can run code"):
        find_model(str(broken))


# --- Problems --------------------------------------------------------------------------------


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    lines: list[Line | str] = [*questions(16), '{"prompt": "x"', {"prompt": "y", "response": " "}]
    data = write(tmp_path / "bad.jsonl", lines)
    text = problems_of(data, "nosuch", name="a/b", tolerance="acuracy=1")
    assert [line.split(" is ")[0].split(" '")[0].strip()[:20] for line in text.split("\n")] == [
        "path:",
        "line 17: not valid J",
        "line 18:",
        "model:",
        "tolerance:",
        "name:",
    ]
    assert str(data) in text


@pytest.mark.parametrize("n", [3, 9])
def test_too_few_prompts(tmp_path: Path, n: int) -> None:
    text = problems_of(write(tmp_path / "few.jsonl", questions(n)))
    assert text.endswith(
        f"few.jsonl' has {n} different prompts; at least 10 are needed: one in 5 is kept for the "
        "test, and a single test item has no interval"
    )


def test_an_unknown_metric(data: Path) -> None:
    assert problems_of(data, metric="bleu").startswith("metric: 'bleu' is not valid: input should")


def test_a_study_file_that_the_user_changed_is_kept(data: Path, tmp_path: Path) -> None:
    study = own_study(data, MODEL, name="mine")
    path = write_study(study, tmp_path)
    changed = yaml.safe_load(path.read_text()) | {"seeds": [0, 1]}
    path.write_text(yaml.safe_dump(changed))
    assert write_study(study, tmp_path) == path
    assert load_study(path).seeds == (0, 1)


def test_a_name_that_is_taken_is_refused(data: Path, tmp_path: Path) -> None:
    write_study(own_study(data, MODEL, name="mine"), tmp_path)
    other = write(tmp_path / "other.jsonl", questions(12))
    with pytest.raises(UserError, match=r"name: 'mine' is taken: .* or remove it and results/mine"):
        write_study(own_study(other, MODEL, name="mine"), tmp_path)
    with pytest.raises(UserError, match="name: 'quick' is taken"):
        write_study(own_study(data, MODEL, name="quick"), Path("config/studies"))


def test_the_command_prints_the_name_or_writes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = tmp_path / "studies"
    command = ["own", "--data", str(data), "--model", MODEL, "--studies", str(studies)]
    monkeypatch.setattr(sys, "argv", [*command, "--tolerance", "1"])
    with pytest.raises(SystemExit) as stopped:
        own.main()
    assert stopped.value.code == 1 and not studies.exists()
    assert "tolerance: '1' is not measure=number" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", command)
    own.main()
    (path,) = studies.iterdir()
    assert capsys.readouterr().out == f"{path.stem}\n"
