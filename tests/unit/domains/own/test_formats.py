"""The same rows from every format."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_tradeoff.domains.own import formats
from sft_tradeoff.domains.own.domain import generate
from sft_tradeoff.domains.own.formats import read_csv, read_table
from tests.unit.domains.own.files import GOOD, problems_of, spec

ROWS = [
    {"prompt": 'Say "é", a\nb, c; d\te | f?', "response": " 19.90 ", "note": "None"},
    {"prompt": "＃ 한국 👩\u200d🔬", "response": "007", "note": "NA"},
    {"prompt": "true", "response": "1e5", "note": "nan"},
]
FRAME = pd.DataFrame(ROWS)


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def zstd(raw: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(raw)
    return buffer.getvalue().to_pybytes()


def binary(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def arrow_stream() -> bytes:
    table = pa.Table.from_pylist(ROWS)
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue().to_pybytes()


FORMATS = {
    "lines": jsonl(ROWS),
    "lines with a mark": b"\xef\xbb\xbf" + jsonl(ROWS),
    "old Mac": jsonl(ROWS).replace(b"\n", b"\r"),
    "Windows": jsonl(ROWS).replace(b"\n", b"\r\n"),
    "list": json.dumps(ROWS).encode(),
    "indented list": json.dumps(ROWS, indent=2).encode(),
    "indented objects": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "objects on one line": b" ".join(jsonl([row]) for row in ROWS),
    "object with a list": json.dumps({"version": 1, "data": ROWS}, indent=1).encode(),
    "pandas' default JSON": FRAME.to_json().encode(),
    "columns": json.dumps(FRAME.to_dict("list")).encode(),
    "csv": FRAME.to_csv(index=False).encode(),
    "csv with a mark": b"\xef\xbb\xbf" + FRAME.to_csv(index=False).encode(),
    "csv with semicolons": FRAME.to_csv(index=False, sep=";").encode(),
    "csv for Excel": b"sep=;\r\n" + FRAME.to_csv(index=False, sep=";").encode(),
    "csv with bars": FRAME.to_csv(index=False, sep="|").encode(),
    "tsv": FRAME.to_csv(index=False, sep="\t").encode(),
    "parquet": binary(lambda out: FRAME.to_parquet(out)),
    "feather": binary(lambda out: FRAME.to_feather(out)),
    "arrow stream": arrow_stream(),
}
COMPRESSIONS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}


def rows_of(path: Path, raw: bytes) -> list[dict[str, Any]]:
    path.write_bytes(raw)
    table = read_table(path)
    assert table.problems == []
    return [row for _, row in table.rows]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_texts_as_written(tmp_path: Path, kind: str) -> None:
    assert rows_of(tmp_path / "data", FORMATS[kind]) == ROWS


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["lines", "indented list", "csv", "parquet"])
def test_every_format_may_be_compressed(tmp_path: Path, kind: str, compression: str) -> None:
    compress = COMPRESSIONS[compression]
    assert rows_of(tmp_path / "data", compress(FORMATS[kind])) == ROWS


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressed_files_may_be_joined(tmp_path: Path, compression: str) -> None:
    compress = COMPRESSIONS[compression]
    parts = [compress(jsonl([row]) + b"\n") for row in ROWS]
    assert rows_of(tmp_path / "data", b"".join(parts)) == ROWS


@pytest.mark.parametrize("kind", [*FORMATS, *COMPRESSIONS])
def test_a_damaged_file_is_refused_or_its_rows_are(tmp_path: Path, kind: str) -> None:
    """Cut, or with a few other bytes: never another error, and no text with control characters."""
    whole = COMPRESSIONS[kind](FORMATS["csv"]) if kind in COMPRESSIONS else FORMATS[kind]
    rng = random.Random(kind)
    for _ in range(12):
        raw = bytearray(whole[: rng.randrange(len(whole) // 2, len(whole))])
        for _ in range(rng.randrange(3)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        (tmp_path / "data").write_bytes(raw)
        try:
            told = [problem for _, problem in read_table(tmp_path / "data").problems]
        except ValueError as error:
            told = [str(error)]
        assert all(text.isprintable() and len(text) < 1000 for text in told)


def test_damage_within_compressed_and_binary_files(tmp_path: Path) -> None:
    squeezed = bytearray(gzip.compress(b"prompt,response\n" * 99))
    squeezed[20:24] = b"\xff\xff\xff\xff"
    text = pa.array(["one", "two", "three"])
    offsets = pa.array([0, 3, 900, 11], pa.int32()).buffers()[1]
    wrong = pa.Array.from_buffers(pa.string(), 3, [None, offsets, text.buffers()[2]])
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, pa.schema({"prompt": pa.string()})) as writer:
        writer.write_batch(pa.record_batch([wrong], names=["prompt"]))
    for raw in (bytes(squeezed), buffer.getvalue().to_pybytes()):
        (tmp_path / "data").write_bytes(raw)
        (problem,) = problems_of(tmp_path / "data")
        assert problem.startswith("it is damaged") and problem.endswith("copy or download it again")


def test_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some kilobytes of gzip can be gigabytes of text."""
    monkeypatch.setattr(formats, "MOST_BYTES", 2 * 2**20)
    for content in (bytes(3 * 2**20), gzip.compress(bytes(64 * 2**20))):
        (tmp_path / "data").write_bytes(content)
        (problem,) = problems_of(tmp_path / "data")
        assert problem.startswith("it has more than 0 GiB; give a part of it")


# --- JSON ------------------------------------------------------------------------------------


def test_numbers_of_rows(tmp_path: Path) -> None:
    """Lines of the file for objects, items of a list."""
    file = tmp_path / "data"
    file.write_bytes(b"\n\n" + FORMATS["indented objects"])
    assert [number for number, _ in read_table(file).rows] == [3, 8, 13]
    file.write_bytes(b'[{"prompt": "a"},\n\n{"prompt": "b"}, 7]')
    table = read_table(file)
    assert (table.noun, [number for number, _ in table.rows]) == ("item", [1, 2])
    problem = "expected a JSON object, got number; correct or remove the example"
    assert table.problems == [(3, problem)]


def test_lists_named_after_splits(tmp_path: Path) -> None:
    raw = json.dumps({"train": ROWS[:1], "dev": ROWS[1:2], "test": ROWS[2:]}).encode()
    (tmp_path / "data").write_bytes(raw)
    assert read_table(tmp_path / "data").splits == {1: "train", 2: "validation", 3: "test"}
    (tmp_path / "data").write_bytes(FORMATS["object with a list"])
    assert read_table(tmp_path / "data").told == ["read from 'data'; not read: 'version'"]
    (tmp_path / "data").write_bytes(json.dumps({"a": ROWS, "b": ROWS}).encode())
    (problem,) = problems_of(tmp_path / "data")
    assert problem.startswith("the file is one object with several lists ('a', 'b'); write the one")


def test_json_that_is_broken_is_one_problem(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(FORMATS["indented list"][:-30])
    (problem,) = problems_of(file)
    assert problem.startswith("not valid JSON: ") and " at line 14 character " in problem
    file.write_bytes(b", ".join(jsonl([row]) for row in ROWS))
    (problem,) = problems_of(file)
    assert "objects are separated by commas; remove these, or put [ and ] around all" in problem
    file.write_bytes(b",\n".join(jsonl([row]) for row in GOOD))
    assert problems_of(file)[0] == (
        "lines 1, 2, 3: not valid JSON: a comma follows the object at character 49; remove it; "
        "correct or remove the example"
    )


def test_a_broken_first_line_does_not_make_another_kind(file: Path) -> None:
    """Line 1 could be CSV and line 2 is a list, but these are two bad lines of JSON lines."""
    file.write_bytes(b"prompt, response\n[1, 2]\n" + jsonl(GOOD))
    assert [problem[:23] for problem in problems_of(file)] == [
        "line 1: not valid JSON:",
        "line 2: expected a JSON",
    ]


# --- CSV -------------------------------------------------------------------------------------


def test_blanks_after_delimiters_belong_to_the_style() -> None:
    table = read_csv('prompt, response\na, "b, c"\n\n d, e\n')
    assert [row for _, row in table.rows] == [
        {"prompt": "a", "response": "b, c"},
        {"prompt": "d", "response": "e"},
    ]
    assert [number for number, _ in table.rows] == [2, 4]


def test_a_cell_may_hold_lines_of_json(tmp_path: Path) -> None:
    cell = "Read:\n" + "\n".join(f'{{"a": {i}}}' for i in range(3))
    table = pd.DataFrame({"prompt": [f"{cell} {i}" for i in range(3)], "response": ["r"] * 3})
    rows = rows_of(tmp_path / "data", table.to_csv(index=False).encode())
    assert rows == table.to_dict("records")


def test_a_header_may_be_missing(file: Path) -> None:
    """The name tells tabs from the commas in cells."""
    file.write_text("What is 1+1?,2\nWhat is 1+2?,3\n")
    (problem,) = problems_of(file)
    assert "the keys are 'What is 1+1?', '2': no layout is known" in problem
    advice = "if it is data, put a header line that names the columns, such as label{}text, on top"
    assert problem.endswith(f"; line 1 is read as the header of a CSV file: {advice.format(',')}")
    named = file.with_suffix(".tsv")
    lines = [f"[a, b]\tText {i}\n" for i in range(10)]
    named.write_text("".join(lines))
    (problem,) = problems_of(named)
    tab = advice.format("\t")
    assert problem.startswith("the keys are '[a, b]', 'Text 0': no layout is known")
    assert problem.endswith(f"; line 1 is read as the header of a TSV file: {tab}")
    named.write_text("label\ttext\n" + "".join(lines))
    assert len(generate(spec(named))["train"]) == 8


def test_the_name_decides_only_on_what_is_not_json(tmp_path: Path) -> None:
    """JSON lines in a file named .csv are JSON lines."""
    (tmp_path / "d.csv").write_text("".join(f"{json.dumps(row)}\n" for row in GOOD))
    assert len(generate(spec(tmp_path / "d.csv"))["train"]) == 2
    (tmp_path / "d.json").write_text('[1, 2"')
    (problem,) = problems_of(tmp_path / "d.json")
    assert problem.startswith("not valid JSON: Expecting ',' delimiter at line 1 character 6")


def test_rows_that_do_not_fit_the_header() -> None:
    table = read_csv('prompt,response\na,b,c\nd\n"e""f,g\nh"x,i\nj,k\n')
    assert table.rows == [(6, {"prompt": "j", "response": "k"})]
    assert [problem[:20] for _, problem in table.problems] == [
        "more cells than the ",
        "fewer cells than the",
        "not valid CSV: ',' e",
    ]
    table = read_csv('prompt,response\na,"b\nc,d\n')
    assert [problem[:34] for _, problem in table.problems] == ["not valid CSV: unexpected end of d"]


def test_headers() -> None:
    with pytest.raises(ValueError, match="line 1: two columns have one name"):
        read_csv("prompt,prompt\na,b\n")
    assert read_csv(" prompt ,,x\na,b,c\n").rows == [
        (2, {"prompt": "a", "column 2": "b", "x": "c"})
    ]
    long = "x" * 300_000  # beyond the standard library's limit for a cell
    assert read_csv(f"prompt,response\n{long},b\n").rows[0][1]["prompt"] == long


# --- Typed columns ---------------------------------------------------------------------------


def test_typed_columns_give_what_json_would_give(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "q",
            "number": 7,
            "big": 2**63 - 1,
            "real": 19.9,
            "flag": True,
            "nothing": None,
            "messages": [{"role": "user", "content": "a", "weight": 1.5}],
        },
        {"prompt": "p", "real": float("nan")},
    ]
    path = tmp_path / "data"
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert repr(read_table(path).rows) == repr(read_json_rows(tmp_path, rows))


def read_json_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> list[tuple[int, Any]]:
    """Rows as read from JSON lines, without nulls; NaN is no value."""
    plain = [{k: v for k, v in row.items() if v is not None and v == v} for row in rows]
    path = tmp_path / "data.jsonl"
    path.write_bytes(jsonl(plain))
    return read_table(path).rows


def test_digits_of_small_floats_and_decimals(tmp_path: Path) -> None:
    from decimal import Decimal

    columns = {
        "single": pa.array([0.1, None], pa.float32()),
        "decimal": pa.array([Decimal("19.90"), Decimal("5.00")]),
        "category": pa.array(["a", "b"]).dictionary_encode(),
        "large": pa.array(["a", "b"], pa.large_string()),
    }
    pq.write_table(pa.table(columns), tmp_path / "data")
    assert [row for _, row in read_table(tmp_path / "data").rows] == [
        {"single": "0.1", "decimal": "19.90", "category": "a", "large": "a"},
        {"decimal": "5.00", "category": "b", "large": "b"},
    ]


def test_classes_have_their_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": 0}, {"text": "c", "label": -1}]
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "data")
    labels = [row.get("label") for _, row in read_table(tmp_path / "data").rows]
    assert labels == ["good", "bad", None]


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(table, tmp_path / "data")
    assert problems_of(tmp_path / "data") == ["the column 'prompt' appears twice; keep one"]
