"""Names, paths, options and the template of a user's study."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from sft_tradeoff.planning import own_template as own_file
from sft_tradeoff.planning.own import own_study
from sft_tradeoff.planning.own_template import write_study
from sft_tradeoff.study.config import load_study
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.validation import ConfigError

MODEL = "random-2layer"


def write(path: Path) -> Path:
    rows = [{"prompt": f"Question {i}?", "response": f"Reply {i}"} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data.jsonl")


@pytest.mark.parametrize(
    "name", [b"line\n", b"color\x1b[31m", b"latin-1 \xe9", "a\u2028b".encode()]
)
def test_a_path_that_programs_cannot_read_is_refused(tmp_path: Path, name: bytes) -> None:
    data = write(tmp_path / os.fsdecode(name + b".jsonl"))
    with pytest.raises(UserError) as caught:
        own_study(data, MODEL)
    problem = str(caught.value)
    assert problem.isprintable() and problem.endswith("; rename it")


@pytest.mark.parametrize("name", ["a$b", 'it\'s "q"', "{x}  [y]", "#1", "-n", "日本", "é" * 120])
def test_any_other_path_is_kept(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / f"{name}.jsonl")
    path = write_study(own_study(data, MODEL), tmp_path / "studies")
    assert load_study(path).domains[0].data_file == str(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epochs: 1", "epochs: -1"),
        ("seeds: [0]", "seeds: []"),
        ("  - name: talr", "  - name: talrr"),
        ("piqa: 32", "piqqa: 32"),
        ("n_test: 100", "n_test: many"),
        ("micro_batch_size: 4", "micro_batch_size: 3"),
    ],
)
def test_a_mistake_in_the_template_names_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    text = own_file.TEMPLATE.read_text()
    assert old in text
    template = tmp_path / "own.yaml"
    template.write_text(text.replace(old, new, 1))
    monkeypatch.setattr(own_file, "TEMPLATE", template)
    with pytest.raises((UserError, ConfigError)) as caught:
        own_study(data, MODEL)
    assert str(caught.value).startswith((f"{template}:", "config/studies/own.yaml or an option:"))


def test_wrong_options_are_reported_together(data: Path) -> None:
    options = {
        "metric": "bleu",
        "numeric_tolerance": "0,1",
        "tolerance": "1",
        "smallest_gain": "x=1",
        "chat_template_args": "=",
        "name": "x" * 300,
    }
    with pytest.raises(UserError) as caught:
        own_study(data, MODEL, **options)
    problem = str(caught.value)
    names = ["METRIC", "numeric tolerance", "tolerance", "smallest_gain", "chat_template_args"]
    assert all(re.search(rf"(?m)^ *{name}: ", problem) for name in [*names, "name"])
    assert max(map(len, problem.split("\n"))) < 200


def test_a_model_that_was_moved_is_the_same(data: Path, random_model: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        shutil.copytree(
            random_model, tmp_path / name, ignore=shutil.ignore_patterns("*MODEL.json*")
        )
    one, other = (own_study(data, str(tmp_path / name)) for name in ("one", "other"))
    assert one["models"] != other["models"] and one["study"] == other["study"]
    path = write_study(one, tmp_path)
    kept = path.read_text()
    assert write_study(other, tmp_path) == path and path.read_text() == kept
