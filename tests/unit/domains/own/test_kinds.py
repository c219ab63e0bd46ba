"""Files without rows: recognized, with advice that helps."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sft_tradeoff.domains.own.domain import generate
from tests.unit.domains.own.files import GOOD, problems_of, spec

TEXT = "\n".join(map(json.dumps, GOOD))
LATIN = "\n".join(f'{{"prompt": "é{i}", "response": "b"}}' for i in range(4)).encode("latin-1")


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("data.jsonl"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty; write one JSON object per line"),
        (b" \r\n\n", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (gzip.compress(b""), "it is empty"),
        (TEXT.encode("utf-16"), "the encoding is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"),
        (TEXT.encode("utf-32"), "the encoding is UTF-32; convert"),
        (TEXT.encode("utf-16-le"), "line 1: a zero byte; the file is UTF-16 or damaged"),
        (TEXT.encode() + b"\n\n\x00\x00", "line 6: a zero byte"),
        (gzip.compress(TEXT.encode())[:-9], "it is damaged: gunzip fails (Compressed file ended"),
        (bz2.compress(TEXT.encode())[:-9], "it is damaged: bunzip2 fails (Compressed file ended"),
        (lzma.compress(TEXT.encode())[:-9], "it is damaged: unxz fails (Compressed file ended"),
        (b"\xfd7zXZ\x00abc", "it is damaged: unxz fails"),
        (b"\x28\xb5\x2f\xfdabc", "it is damaged: unzstd fails"),
        (b"PAR1rest", "it is damaged ("),
        (b"ARROW1\x00\x00rest", "it is damaged ("),
        (b"\xff\xff\xff\xffrest", "it is damaged ("),
        (zipped("xl/workbook.xml"), "it is an Excel workbook; save the sheet with the data as CSV"),
        (zipped("content.xml"), "it is an OpenDocument file; save the sheet"),
        (zipped("archive/data.pkl"), "it is a file of PyTorch; write its rows as Parquet"),
        (zipped("a.jsonl"), "it is a zip archive; unpack it and give the file inside ('a.jsonl')"),
        (b"PK\x03\x04rest", "it is a damaged zip archive; copy or download it again"),
        (gzip.compress(tarred()), "it is a tar archive; unpack it with tar -xf"),
        (pickle.dumps(GOOD), "it is a Python pickle, which can run any program"),
        (b"\n<!DOCTYPE html>\n<p>{}</p>\n" * 30, "it is an HTML page, probably shown instead of"),
        (b"<html><body>\n{\n}", "it is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a pointer of Git L"),
        (b"SQLite format 3\x00", "it is an SQLite database; export its table as CSV"),
        (b"%PDF-1.7\n", "it is a PDF document"),
        (b"Just some text.\n", "it is neither JSON nor CSV: line 1 is 'Just some text.'; give JSO"),
        (b"{\n" * 40, "not valid JSON: Expecting property name enclosed in double quotes at line"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",  # archives hold the time
)
def test_a_file_without_rows_is_one_problem(file: Path, content: bytes, problem: str) -> None:
    file.write_bytes(content)
    problems = problems_of(file)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_not_utf_8(file: Path) -> None:
    good = TEXT.encode()
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


@pytest.mark.parametrize(
    ("suffix", "compress", "program"),
    [
        ("", bytes, "iconv"),
        (".gz", gzip.compress, "gunzip"),
        (".bz2", bz2.compress, "bunzip2"),
        (".xz", lzma.compress, "unxz"),
    ],
)
@pytest.mark.parametrize("name", ["my data.jsonl", "my data.csv"])
def test_the_advice_for_encodings_works_and_overwrites_nothing(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], program: str, name: str
) -> None:
    """A shell empties the output before the input is read."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    text = {".csv": "prompt,response\n" + "".join(f"é{i},r\n" for i in range(4))}.get(
        Path(name).suffix, LATIN.decode("latin-1")
    )
    file = tmp_path / f"{name}{suffix}"
    file.write_bytes(compress(text.encode("latin-1")))
    (problem,) = problems_of(file)
    subprocess.run(problem[problem.index(program) :], shell=True, check=True)
    converted = tmp_path / name.replace(".", "-2.")
    assert converted.read_bytes() == text.encode()
    assert len(generate(spec(converted))["test"]) == 2
    assert f"'{tmp_path / name.replace('.', '-3.')}'" in problems_of(file)[0]


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
