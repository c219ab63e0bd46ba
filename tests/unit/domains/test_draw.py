"""Reading the hub's file formats, and drawing splits."""

import json

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sft_tradeoff.assets import records as readers
from sft_tradeoff.assets.records import HubDataError, data_files, read_rows
from sft_tradeoff.domains.draw import digest, draw
from sft_tradeoff.domains.registry import domain_spec

ROWS = [{"a": "one", "b": 1}, {"a": "zwei ✓", "b": 2}, {"a": "three", "b": 3}]


def write(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        lines = [",".join(map(str, row.values())) for row in rows]
        path.write_text("\n".join(["a,b", *lines]) + "\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", readers.FORMATS)
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    path = write(tmp_path / f"train{suffix}")
    found = list(read_rows([path], ("a", "b")))
    assert [(row.path, row.number) for row in found] == [(path, 1), (path, 2), (path, 3)]
    assert [(row.text("a"), row.text("b")) for row in found] == [
        ("one", "1"), ("zwei ✓", "2"), ("three", "3"),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", readers.FORMATS)
def test_a_missing_column_is_named_with_the_file(tmp_path, suffix):
    path = write(tmp_path / f"train{suffix}")
    with pytest.raises(HubDataError, match=rf"{path}: no column 'c', only 'a', 'b'"):
        list(read_rows([path], ("a", "c")))


def test_parquet_reads_only_the_columns_asked_for(tmp_path, monkeypatch):
    """Three rows in batches of two: the numbers go on in the second batch."""
    monkeypatch.setattr(readers, "BATCH_ROWS", 2)
    path = write(tmp_path / "train.parquet")
    found = list(read_rows([path], ("b",)))
    assert [row.values for row in found] == [{"b": 1}, {"b": 2}, {"b": 3}]
    assert [row.number for row in found] == [1, 2, 3]


@pytest.mark.parametrize(
    "value", [None, "", " \n", float("nan"), True, ["a"]], ids=lambda v: repr(v)
)
def test_what_is_no_text_is_named_with_row_and_column(tmp_path, value):
    row = readers.Row(tmp_path / "x.csv", 7, {"a": value})
    with pytest.raises(HubDataError, match=r"x\.csv, row 7: 'a' is .*, not a text; fetch"):
        row.text("a")


def test_texts_have_plain_line_breaks_and_no_control_characters(tmp_path):
    row = readers.Row(tmp_path, 1, {"a": " one\r\ntwo\rthree\tfour\x00\x1b\x7f\x9f\ud800 é\u2028 "})
    assert row.text("a") == "one\ntwo\nthree\tfour é"
    with pytest.raises(HubDataError, match="not a text"):
        readers.Row(tmp_path, 1, {"a": "\x00 \x1b"}).text("a")


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = write(tmp_path / f"train{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(HubDataError, match=f"{path.name} is damaged"):
        list(read_rows([path], ("a",)))


@pytest.mark.parametrize(("text", "words"), [('{"a": 1}', "no JSON list"), ("[1]", "is 1, not")])
def test_json_that_is_no_list_of_records(tmp_path, text, words):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(HubDataError, match=words):
        list(read_rows([tmp_path / "x.json"], ("a",)))


records = st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), max_size=8)


@given(rows=records, chunk=st.integers(1, 9), indent=st.sampled_from([None, 1]))
def test_a_json_list_read_in_pieces_is_the_whole_list(tmp_path_factory, rows, chunk, indent):
    """Against json.loads, wherever the pieces end: in a key, an escape, a number."""
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(json.dumps(rows, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_JSON_CHUNK", chunk)
        assert list(readers._json_list(path)) == rows


@pytest.mark.parametrize(
    "names",
    [
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
        ["default/train/0000.parquet", "default/train/0001.parquet"],
        ["train_data.csv"],
    ],
)
def test_files_of_a_split_in_the_hubs_layouts(tmp_path, names):
    for name in [*names, "data/.train.csv", ".cache/train.csv", "train.md", "test_x.csv"]:
        write(tmp_path / name)
    assert data_files(tmp_path, "train") == [tmp_path / name for name in names]


def test_two_versions_of_a_split_are_refused(tmp_path):
    write(tmp_path / "train.csv"), write(tmp_path / "train.parquet")
    with pytest.raises(HubDataError, match=r"'train' must be of one format.*train\.csv, train\.p"):
        data_files(tmp_path, "train")
    with pytest.raises(HubDataError, match="found: none"):
        data_files(tmp_path, "test")


# --- drawing ------------------------------------------------------------------------------------


def spec(**sizes):
    return domain_spec(
        name="hub_metamath", **{"n_train": 9, "n_validation": 0, "n_test": 1} | sizes
    )


def test_draw_by_hand():
    """Groups 1 (rows 0, 3), 2 (rows 1, 2), 3 (row 4).

    Validation of 3 takes group 1 and row 2 of group 2 (its order 10 is before 20); row 1 shares
    that group, so training has row 4 alone. The test is the two smallest of 5, 3, 9.
    """
    group = np.array([1, 2, 2, 1, 3], dtype=np.uint64)
    order = np.array([50, 20, 10, 40, 30], dtype=np.uint64)
    drawn = draw(spec(n_validation=3, n_test=2), order, group, np.array([5, 3, 9], np.uint64))
    assert drawn.validation.tolist() == [3, 0, 2]
    assert drawn.train.tolist() == [4]
    assert drawn.test.tolist() == [1, 0]
    assert drawn.n_beside == 1


@given(st.data())
def test_draw_keeps_groups_apart_and_takes_as_many_as_there_are(data):
    groups = data.draw(st.lists(st.integers(0, 6), min_size=2, max_size=30))
    n_validation = data.draw(st.integers(0, len(groups)))
    order = np.array([digest(0, str(i)) for i in range(len(groups))], dtype=np.uint64)
    group = np.array([digest(0, str(g)) for g in groups], dtype=np.uint64)
    wanted = spec(n_validation=n_validation, n_train=5)
    try:
        drawn = draw(wanted, order, group, order)
    except HubDataError as error:
        assert "leave nothing to train on" in str(error)
        return
    assert len(drawn.validation) == n_validation
    taken = {groups[i] for i in drawn.validation}
    free = [i for i, g in enumerate(groups) if g not in taken]
    assert drawn.train.tolist() == sorted(free, key=lambda i: order[i])[:5]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"n_test": 3}, "n_test: 3 examples asked for, but the data set has 2; use n_test <= 2"),
        ({"n_validation": 3}, "n_validation: 3 examples asked for, but the data set has 2"),
        ({"n_validation": 2}, "n_validation: 2 of 2 candidates leave nothing to train on"),
    ],
)
def test_sizes_that_cannot_be_met(sizes, words):
    two = np.array([1, 2], dtype=np.uint64)
    with pytest.raises(HubDataError, match=words):
        draw(spec(**sizes), two, two, two)
