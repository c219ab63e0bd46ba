"""What θ0 was trained on is not tested."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from sft_tradeoff import cli
from sft_tradeoff.domains.apart import check_apart
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import atomic_write_text


def write(
    folder: Path, train: Sequence[str], validation: Sequence[str], test: Sequence[str]
) -> Path:
    """A domain with these prompts."""
    splits = {"train": train, "validation": validation, "test": test}
    for split, prompts in splits.items():
        records = [{"id": f"{split}-{i}", "prompt": text} for i, text in enumerate(prompts)]
        text = "".join(json.dumps(record) + "\n" for record in records)
        atomic_write_text(folder / f"{split}.jsonl", text, checksum=True)
    return folder


def test_what_was_compared_is_counted(tmp_path: Path) -> None:
    first = write(tmp_path / "first", ["a", "b", "c"], [], ["d"])
    second = write(tmp_path / "second", ["b", "e"], ["f"], ["g", "h"])
    out = tmp_path / "warm.apart.json"
    command = ["check-start", "--name", "warm", "--trained-on", first]
    cli.main([*map(str, [*command, "--domains", first, second, "--out", out])])
    assert json.loads(out.read_text()) == {
        "trained_on": {"first": 3},
        "tested": {"first": 1, "second": 3},
        "trained_again": {"first": 3, "second": 1},
    }


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_tested_prompt_that_was_trained_on_is_refused(tmp_path: Path, split: str) -> None:
    first = write(tmp_path / "first", ["a", "Same  prompt"], [], ["d"])
    tested = {"validation": ["f"], "test": ["g"], split: ["x", "same prompt", "A"]}
    second = write(tmp_path / "second", ["b"], **tested)
    with pytest.raises(UserError) as error:
        check_apart("warm", [first], [first, second])
    assert (
        f"model 'warm': 2 of 3 {split} examples of domain 'second' have the prompt of an example "
        f"that its θ0 was trained on ('{split}-1' is 'train-1' of domain 'first')"
    ) in str(error.value)
    assert ("n_validation: 0" in str(error.value)) == (split == "validation")


def test_all_runs_before_count(tmp_path: Path) -> None:
    first = write(tmp_path / "first", ["a"], [], ["d"])
    second = write(tmp_path / "second", ["b"], [], ["e"])
    third = write(tmp_path / "third", ["c"], [], ["a"])
    with pytest.raises(UserError, match="'train-0' of domain 'first'"):
        check_apart("hot", [first, second], [first, second, third])
    check_apart("hot", [second], [first, second, third])


def test_the_same_prompt_after_another_system_text_is_another(tmp_path: Path) -> None:
    first = write(tmp_path / "first", ["a"], [], ["d"])
    second = write(tmp_path / "second", ["b"], [], [])
    record = {"id": "t", "prompt": "a", "system": "Be brief."}
    atomic_write_text(second / "test.jsonl", json.dumps(record) + "\n", checksum=True)
    assert check_apart("warm", [first], [second])["tested"] == {"second": 1}


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "first", ["a"], [], ["d"])
    (first / "train.jsonl").write_text('{"id": "x", "prompt": "y"}\n')
    with pytest.raises(UserError, match=r"train\.jsonl"):
        check_apart("warm", [first], [first])
