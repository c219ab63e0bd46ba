"""Files that are not JSONL: recognized, with a command that converts them."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.domains.own.domain import generate
from tests.unit.domains.own.files import GOOD, problems_of, spec, write


def test_not_utf_8(file: Path) -> None:
    good = "\n".join(map(json.dumps, GOOD)).encode()
    file.write_bytes(good + '\n{"prompt": "é", "response": "b"}'.encode("latin-1"))
    advice = (
        "if it is Western European (Windows-1252, Latin-1), convert it with iconv -f CP1252 -t "
        f"UTF-8 {file} > {file.with_name('data-2.jsonl')}"
    )
    assert problems_of(file) == [f"line 5: not UTF-8 at byte 12; {advice}"]
    latin = [f'{{"prompt": "é{i}", "response": "b"}}'.encode("latin-1") for i in range(30)]
    file.write_bytes(b"\n".join([*latin, good, latin[0]]))
    assert problems_of(file) == [f"line 1: not UTF-8 at byte 12 (and 30 more lines); {advice}"]


def test_the_advice_for_windows_1252_gives_back_the_text(tmp_path: Path) -> None:
    """Latin-1 would turn typographic quotes into control characters."""
    text = "\n".join(f'{{"prompt": "it’s {i}", "response": "“yes” for 5 €"}}' for i in range(5))
    file = tmp_path / "d.jsonl"
    file.write_bytes(text.encode("cp1252"))
    (problem,) = problems_of(file)
    command = problem[problem.index("iconv") :]
    subprocess.run(command, shell=True, check=True)
    assert (tmp_path / "d-2.jsonl").read_text(encoding="utf-8") == text
    assert generate(spec(tmp_path / "d-2.jsonl"))["test"][0].response == "“yes” for 5 €"


def test_files_of_two_encodings_are_not_converted_as_one(file: Path) -> None:
    rows = [f'{{"prompt": "é{i}", "response": "b"}}' for i in range(3)]
    file.write_bytes(b"\n".join([rows[0].encode(), rows[1].encode("latin-1"), rows[2].encode()]))
    (problem,) = problems_of(file)
    assert problem.startswith(
        "line 2: not UTF-8 at byte 12; other lines are UTF-8, so do not convert this"
    )
    assert "iconv" not in problem


def test_an_encoding_that_is_not_windows_1252(file: Path) -> None:
    """0x81 starts half of Shift-JIS's characters and is unused in Windows-1252."""
    file.write_bytes('{"prompt": "「。」", "response": "b"}'.encode("shift-jis"))
    (problem,) = problems_of(file)
    assert "find its encoding (not Windows-1252, which has no such bytes)" in problem


TEXT = "\n".join(map(json.dumps, GOOD))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty; write one JSON object per line"),
        (b" \r\n\n", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (TEXT.encode("utf-16"), "the encoding is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"),
        (TEXT.encode("utf-32"), "the encoding is UTF-32; convert"),
        (TEXT.encode("utf-16-le"), "line 1: a zero byte; the file is UTF-16 or damaged"),
        (TEXT.encode() + b"\n\n\x00\x00", "line 6: a zero byte"),
        (gzip.compress(TEXT.encode(), mtime=0), "it is compressed with gzip; decompress"),
        (b"PK\x03\x04rest", "it is a zip archive or a spreadsheet"),
        (b"PAR1rest", "it is Parquet; convert it with pandas: read_parquet('"),
        (
            json.dumps(GOOD).encode(),
            "it is one JSON value, not one object per line; convert a list",
        ),
        (json.dumps(GOOD, indent=1).encode(), "it is one JSON value, not one object per line"),
        (json.dumps(GOOD[0], indent=1).encode(), "it is one JSON value, not one object per line"),
        (b"prompt,response\na,b\n", "line 1: 'prompt,response' looks like CSV; convert it, e.g. w"),
        (b'"prompt";"response"\n"a";"b"\n', 'line 1: \'"prompt";"response"\' looks like CSV'),
        (b"prompt\tresponse\r\na\tb\r\n", "line 1: 'prompt\\tresponse' looks like CSV"),
        (b"Just some text.\n", "no line is a JSON object; line 1 is 'Just some text.'"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_file_of_another_kind_is_one_problem(file: Path, content: bytes, problem: str) -> None:
    file.write_bytes(content)
    problems = problems_of(file)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_the_advice_for_csv_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the suggested command; commas and line breaks within a cell are kept."""
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"prompt": ["a, b", "c\nd", "e"], "response": ["19.90", "None", '"x"']})
    table.to_csv("my.csv", index=False)
    (problem,) = problems_of(Path("my.csv"))
    advice = (
        "pd.read_csv('my.csv', dtype=str, keep_default_na=False).to_json('my.jsonl', orient='re"
    )
    assert f"pd.{problem[problem.index('read_csv') :]}".startswith(advice)
    eval(f"pd.{problem[problem.index('read_csv') :]}")
    splits = generate(spec(tmp_path / "my.jsonl"))
    found = {e.prompt: e.response for split in splits.values() for e in split}
    assert found == dict(zip(table["prompt"], table["response"], strict=True))


OTHER_KINDS = {
    "list": json.dumps(GOOD).encode(),
    "csv": b"prompt,response\na,b\n",
    "utf-16": TEXT.encode("utf-16"),
    "latin-1": '{"prompt": "é", "response": "b"}'.encode("latin-1"),
    "gzip": gzip.compress(TEXT.encode(), mtime=0),
    "parquet": b"PAR1rest",
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("name", ["my data.jsonl", "my data.json"])
def test_a_conversion_overwrites_nothing(tmp_path: Path, kind: str, name: str) -> None:
    """A shell empties the output before the input is read; `my data.jsonl` exists already."""
    (tmp_path / "my data.jsonl").write_bytes(TEXT.encode())
    file = tmp_path / name
    file.write_bytes(OTHER_KINDS[kind])
    (problem,) = problems_of(file)
    assert str(file) in problem and f"'{tmp_path / 'my data-2.jsonl'}'" in problem
    assert "> my" not in problem and f"> '{file}'" not in problem
    (tmp_path / "my data-2.jsonl").touch()
    assert f"'{tmp_path / 'my data-3.jsonl'}'" in problems_of(file)[0]


@pytest.mark.parametrize(("kind", "first"), [("gzip", "gunzip"), ("utf-16", "iconv")])
def test_the_advice_for_other_encodings_works(tmp_path: Path, kind: str, first: str) -> None:
    file = tmp_path / "my data.jsonl"
    file.write_bytes(OTHER_KINDS[kind])
    (problem,) = problems_of(file)
    subprocess.run(problem[problem.index(first) :], shell=True, check=True)
    assert file.read_bytes() == OTHER_KINDS[kind]
    assert (tmp_path / "my data-2.jsonl").read_bytes() == TEXT.encode()


def test_a_broken_first_line_does_not_make_another_kind(file: Path) -> None:
    """Line 1 could be CSV and line 2 is a list, but these are two bad lines of a JSONL file."""
    problems = problems_of(write(file, ["prompt, response", "[1, 2]", *GOOD]))
    assert [problem[:23] for problem in problems] == [
        "line 1: not valid JSON:",
        "line 2: expected a JSON",
    ]
