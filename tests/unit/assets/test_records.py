"""Reading the file formats of data sets."""

import gzip
import json

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sft_tradeoff.assets import records as readers
from sft_tradeoff.assets.records import data_files, read_rows, read_texts
from sft_tradeoff.system.records import RecordError

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
        ("one", "1"),
        ("zwei ✓", "2"),
        ("three", "3"),
    ]


@pytest.mark.parametrize("suffix", readers.FORMATS)
def test_a_missing_column_is_named_with_the_file(tmp_path, suffix):
    path = write(tmp_path / f"train{suffix}")
    with pytest.raises(RecordError, match=rf"{path}(, row 1)?: no column 'c', only 'a', 'b'"):
        list(read_rows([path], ("a", "c")))


def test_parquet_reads_only_the_columns_asked_for(tmp_path, monkeypatch):
    """Three rows in batches of two: numbering continues in the second batch."""
    monkeypatch.setattr(readers, "BATCH_ROWS", 2)
    path = write(tmp_path / "train.parquet")
    found = list(read_rows([path], ("b",)))
    assert [row.values for row in found] == [{"b": 1}, {"b": 2}, {"b": 3}]
    assert [row.number for row in found] == [1, 2, 3]


@pytest.mark.parametrize(
    "value", [None, "", " \n", float("nan"), True, ["a"]], ids=lambda v: repr(v)
)
def test_a_value_that_is_not_a_text_is_named_with_row_and_column(tmp_path, value):
    row = readers.Row(tmp_path / "x.csv", 7, {"a": value})
    with pytest.raises(RecordError, match=r"x\.csv, row 7: 'a' is .*, not a text; fetch"):
        row.text("a")


def test_texts_have_plain_line_breaks_and_no_control_characters(tmp_path):
    row = readers.Row(tmp_path, 1, {"a": " one\r\ntwo\rthree\tfour\x00\x1b\x7f\x9f\ud800 é\u2028 "})
    assert row.text("a") == "one\ntwo\nthree\tfour é"
    with pytest.raises(RecordError, match="not a text"):
        readers.Row(tmp_path, 1, {"a": "\x00 \x1b"}).text("a")


def test_a_line_that_is_not_json_is_named(tmp_path):
    path = write(tmp_path / "x.jsonl")
    path.write_bytes(path.read_bytes() + b"{\xff}\n")
    with pytest.raises(RecordError, match=rf"{path}, line 4: not JSON .*; fetch its asset"):
        list(read_rows([path]))
    with pytest.raises(RecordError, match=r"file not found: .*y\.jsonl; fetch its asset"):
        list(read_rows([tmp_path / "y.jsonl"]))


def test_texts_are_read_unchanged_and_everything_else_is_named(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": " x\\r\\n"}\n{"a": 1}\n'))
    rows = read_texts(path, ["a"])
    assert next(rows) == {"a": " x\r\n"}
    with pytest.raises(RecordError, match=rf"{path}, row 2: 'a' is 1, not a text"):
        next(rows)


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = write(tmp_path / f"train{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(RecordError, match=f"{path.name} is damaged"):
        list(read_rows([path], ("a",)))


@pytest.mark.parametrize(
    ("text", "words"), [('{"a": 1}', "is not a JSON list"), ("[1]", "row 1: 1 is not an object")]
)
def test_json_that_is_not_a_list_of_records(tmp_path, text, words):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(RecordError, match=words):
        list(read_rows([tmp_path / "x.json"], ("a",)))


def test_json_is_what_python_writes(tmp_path):
    """NaN, numbers beyond 64 bits and halves of characters; the last are removed from texts."""
    (tmp_path / "x.json").write_text('[{"a": NaN, "b": 18446744073709551616, "c": "\\ud800x"}]')
    (row,) = read_rows([tmp_path / "x.json"], ("a", "b", "c"))
    assert row.values["a"] != row.values["a"] and row.values["b"] == 2**64
    assert row.text("c") == "x"


def test_endless_nesting_is_damage(tmp_path):
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(RecordError, match=r"x\.json is damaged"):
        list(read_rows([tmp_path / "x.json"]))
    (tmp_path / "x.jsonl").write_text("[" * 100_000)
    with pytest.raises(RecordError, match=r"x\.jsonl, line 1: not JSON"):
        list(read_rows([tmp_path / "x.jsonl"]))


numbers = st.integers() | st.floats(allow_nan=False)
records = st.lists(st.dictionaries(st.text(), st.text() | numbers | st.none()), max_size=8)


@given(rows=records, indent=st.sampled_from([None, 1]))
def test_a_json_list_is_read_as_json_reads_it(tmp_path_factory, rows, indent):
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text("\n " + json.dumps(rows, indent=indent))
    assert [row.values for row in read_rows([path])] == rows


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
    with pytest.raises(RecordError, match=r"'train' must be of one format.*train\.csv, train\.p"):
        data_files(tmp_path, "train")
    with pytest.raises(RecordError, match="found: none"):
        data_files(tmp_path, "test")
