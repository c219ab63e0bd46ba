"""One file, or a folder of files with splits; everything else is refused without reading it."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections import Counter
from pathlib import Path

import datasets
import pytest

from sft_tradeoff.domains.own import files
from sft_tradeoff.domains.own.files import digest_of
from sft_tradeoff.domains.own.read import read_file
from tests.unit.domains.own.files import GOOD, write

Splits = dict[str | None, int]


def splits_of(path: Path) -> Splits:
    data = read_file(path)
    assert data.problems == ()
    assert [line.number for line in data.lines] == list(range(1, len(data.lines) + 1))
    return Counter(line.split for line in data.lines)


def data_set(n: int) -> datasets.Dataset:
    return datasets.Dataset.from_list([{"prompt": f"q{i}", "response": "r"} for i in range(n)])


def refusal_of(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        read_file(path)
    return str(error.value)


def test_folders_of_the_library_datasets(tmp_path: Path) -> None:
    data_set(5).save_to_disk(tmp_path / "one", num_shards=2)
    assert splits_of(tmp_path / "one") == {None: 5}
    both = datasets.DatasetDict(train=data_set(5), test=data_set(2), validation=data_set(1))
    both.save_to_disk(tmp_path / "splits")
    assert splits_of(tmp_path / "splits") == {"train": 5, "test": 2, "validation": 1}
    data_set(5).filter(lambda row: row["prompt"] != "q1").save_to_disk(tmp_path / "filtered")
    assert splits_of(tmp_path / "filtered") == {None: 4}
    shutil.copy(tmp_path / "one/data-00000-of-00002.arrow", tmp_path / "filtered")  # not its own
    assert splits_of(tmp_path / "filtered") == {None: 4}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["my data.jsonl"], {None: 4}),
        (["a.jsonl", "b.jsonl"], {None: 8}),
        (["train.jsonl", "test.jsonl"], {"train": 4, "test": 4}),
        (
            ["x-train.jsonl", "x-dev.jsonl", "x-eval.jsonl"],
            {"train": 4, "validation": 4, "test": 4},
        ),
        (["train/a.jsonl", "train/b.jsonl", "test/c.jsonl"], {"train": 8, "test": 4}),
        (
            [f"data/{s}-of-00002.jsonl" for s in ("train-00000", "train-00001", "test-00000")],
            {"train": 8, "test": 4},
        ),
    ],
)
def test_folders_as_on_the_hub(tmp_path: Path, names: list[str], splits: Splits) -> None:
    for name in ["README.md", ".gitattributes", "dataset_infos.json", *names]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, GOOD)
    assert splits_of(tmp_path) == splits


def test_a_split_in_the_rows_must_be_that_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [row | {"split": "train", "Split": None} for row in GOOD])
    write(tmp_path / "test.jsonl", [row | {"split": None} for row in GOOD])
    assert splits_of(tmp_path) == {"train": 4, "test": 4}
    write(tmp_path / "test.jsonl", [GOOD[0] | {"split": "train"}, *GOOD[1:]])
    assert read_file(tmp_path).problems == (
        "row 5: 'split' is 'train', but the rows stand under the name 'test'; correct one of the "
        "two",
    )


@pytest.mark.parametrize("is_folder", [True, False])
def test_named_columns_leave_the_splits_of_files_and_lists(tmp_path: Path, is_folder: bool) -> None:
    rows = [{"q": f"q{i}", "a": "r"} for i in range(4)]
    if is_folder:
        write(tmp_path / "train.jsonl", rows)
        write(tmp_path / "test.jsonl", rows)
    else:
        (tmp_path / "x.json").write_text(json.dumps({"train": rows, "test": rows}))
    path = tmp_path if is_folder else tmp_path / "x.json"
    lines = read_file(path, {"prompt": "q", "response": "a"}).lines
    assert Counter(line.split for line in lines) == {"train": 4, "test": 4}


def test_a_link_to_a_folder_is_not_passed_over(tmp_path: Path) -> None:
    for name in ("a/train.jsonl", "b/train.jsonl"):
        (tmp_path / name).parent.mkdir()
        write(tmp_path / name, GOOD)
    (tmp_path / "a/more").symlink_to(tmp_path / "b")
    assert "a/more' is a link to a folder, which is not followed" in refusal_of(tmp_path / "a")


def test_files_of_a_hub_cache_are_links(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    for name in ("train", "test"):
        write(tmp_path / "blobs" / name, GOOD)
        (tmp_path / "snapshot" / f"{name}.jsonl").symlink_to(tmp_path / "blobs" / name)
    assert splits_of(tmp_path / "snapshot") == {"train": 4, "test": 4}


def test_folders_that_are_not_clear(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    assert "has no data files; give a data file (JSON lines" in refusal_of(folder)
    write(folder / "train.jsonl", GOOD)
    write(folder / "dev.jsonl", GOOD)
    assert "has the splits 'train', 'validation', but none for 'test'" in refusal_of(folder)
    write(folder / "extra.jsonl", GOOD)
    assert "the names of other files say none ('extra.jsonl'); rename" in refusal_of(folder)
    shutil.copy(folder / "dev.jsonl", folder / "dev.csv")
    assert "has files of several formats (.csv, .jsonl); give one file" in refusal_of(folder)
    datasets.DatasetDict(train_sft=data_set(3), test_sft=data_set(3)).save_to_disk(tmp_path / "u")
    assert "has the splits 'test_sft', 'train_sft', not train, validation" in refusal_of(
        tmp_path / "u"
    )
    assert splits_of(tmp_path / "u/train_sft") == {None: 3}
    (tmp_path / "u/train_sft/data-00000-of-00001.arrow").unlink()
    assert "is missing; save the data set again" in refusal_of(tmp_path / "u/train_sft")
    (tmp_path / "u/train_sft/state.json").write_text("{")
    assert "is damaged; save the data set again" in refusal_of(tmp_path / "u/train_sft")


def test_problems_in_a_folder_name_the_file(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [*GOOD, "{"])
    write(tmp_path / "test.jsonl", GOOD)
    (problem,) = read_file(tmp_path).problems
    assert problem.startswith("row 5: train.jsonl: not valid JSON")
    (tmp_path / "test.jsonl").write_bytes(b"PK\x03\x04")
    assert "test.jsonl: it is a damaged zip archive" in refusal_of(tmp_path)


def test_a_folder_with_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the root of the file system, which would be walked for minutes."""
    monkeypatch.setattr(files, "MOST_FILES", 5)
    for i in range(6):
        write(tmp_path / f"{i}.jsonl", GOOD)
    assert "has more than 5 files; give the data file, or a folder with only" in refusal_of(
        tmp_path
    )


def test_pipes_devices_and_sockets_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe, which can be read only once: write it" in refusal_of(tmp_path / "pipe")
    for device in ("/dev/zero", "/dev/null", "/dev/full"):
        assert "is a device; give a data file" in refusal_of(Path(device))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert "is a socket; give a data file" in refusal_of(tmp_path / "s")


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
        (tmp_path / ("x" * 300), "File name too long"),
        (Path("a\0b"), "embedded null byte"),
    ):
        assert reason in refusal_of(path) and "; give a data file" in refusal_of(path)
    write(tmp_path / "data", GOOD)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert splits_of(tmp_path / "link") == {None: 4}


def test_the_digest_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/train.jsonl", GOOD)
    write(tmp_path / "data/test.jsonl", GOOD[:3])
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    first = digest_of(tmp_path / "data")
    assert len(first) == 64 and digest_of(tmp_path / "copy") == first
    (tmp_path / "copy/test.jsonl").rename(tmp_path / "copy/dev.jsonl")
    assert digest_of(tmp_path / "copy") != first
    write(tmp_path / "data/test.jsonl", GOOD[:2])
    assert digest_of(tmp_path / "data") != first
