"""Forms of a data file, and damage that files suffer."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from tests.odd_inputs.layouts import Row
from tests.odd_inputs.outcome import Expected

LINES, JSON, TABLES = (
    ("jsonl",),
    ("list", "pretty list", "pretty lines"),
    ("csv", "tsv", "semicolons"),
)
TEXTUAL = (*LINES, *JSON, *TABLES)


def _json_lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _table(delimiter: str) -> Callable[[list[Row]], bytes]:
    def write(rows: list[Row]) -> bytes:
        file = io.StringIO()
        names = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(file, names, delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return file.getvalue().encode()

    return write


def _binary(write: Callable[[pa.Table, Any], None]) -> Callable[[list[Row]], bytes]:
    def to_bytes(rows: list[Row]) -> bytes:
        file = pa.BufferOutputStream()
        write(pa.Table.from_pylist(rows), file)
        return bytes(file.getvalue())

    return to_bytes


def _zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


SINGLE: dict[str, tuple[str, Callable[[list[Row]], bytes]]] = {
    "jsonl": (".jsonl", _json_lines),
    "list": (".json", lambda rows: json.dumps(rows).encode()),
    "pretty list": (".json", lambda rows: json.dumps(rows, indent=2, ensure_ascii=False).encode()),
    "pretty lines": (
        ".json",
        lambda rows: "\n".join(json.dumps(r, indent=1) for r in rows).encode(),
    ),
    "csv": (".csv", _table(",")),
    "tsv": (".tsv", _table("\t")),
    "semicolons": (".csv", _table(";")),
    "parquet": (".parquet", _binary(pq.write_table)),
    "feather": (".arrow", _binary(pyarrow.feather.write_feather)),
    "jsonl.gz": (".jsonl.gz", lambda rows: gzip.compress(_json_lines(rows))),
    "jsonl.bz2": (".jsonl.bz2", lambda rows: bz2.compress(_json_lines(rows))),
    "jsonl.xz": (".jsonl.xz", lambda rows: lzma.compress(_json_lines(rows))),
    "jsonl.zst": (".jsonl.zst", lambda rows: _zstd(_json_lines(rows))),
    "json.gz": (".json.gz", lambda rows: gzip.compress(json.dumps(rows).encode())),
    "csv.gz": (".csv.gz", lambda rows: gzip.compress(_table(",")(rows))),
    "csv.xz": (".csv.xz", lambda rows: lzma.compress(_table(",")(rows))),
}


def _dataset(rows: list[Row], path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(rows).save_to_disk(path)


def _by_split(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        rest = {key: value for key, value in row.items() if key != "split"}
        found.setdefault(row["split"], []).append(rest)
    return found


def _dataset_dict(rows: list[Row], path: Path) -> None:
    from datasets import Dataset, DatasetDict

    DatasetDict({k: Dataset.from_list(v) for k, v in _by_split(rows).items()}).save_to_disk(path)


def _shards(rows: list[Row], path: Path) -> None:
    (path / "data").mkdir(parents=True)
    (path / "README.md").write_text("---\nlicense: mit\n---\n")
    for split, some in _by_split(rows).items():
        pq.write_table(pa.Table.from_pylist(some), path / f"data/{split}-00000-of-00001.parquet")


def _files(rows: list[Row], path: Path) -> None:
    path.mkdir()
    for split, some in _by_split(rows).items():
        (path / f"{split}.jsonl").write_bytes(_json_lines(some))


FLAT = (*TABLES, "csv.gz", "csv.xz")  # hold texts only
FOLDERS = {"folder of datasets": _dataset}
SPLIT_FOLDERS = {  # for rows that say their split
    "folder of datasets, splits": _dataset_dict,
    "folder of Parquet": _shards,
    "folder of JSON lines": _files,
}
FILES = tuple(SINGLE)
FORMATS = (*FILES, *FOLDERS, *SPLIT_FOLDERS)


def write(rows: list[Row], form: str, folder: Path) -> Path:
    """Write rows in a form; return the file or folder.

    Raises:
        UnicodeEncodeError: If the form cannot hold a text.
    """
    if form in SINGLE:
        suffix, content = SINGLE[form]
        path = folder / f"data{suffix}"
        path.write_bytes(content(rows))
    else:
        path = folder / "data"
        (FOLDERS | SPLIT_FOLDERS)[form](rows, path)
    return path


# --- damage --------------------------------------------------------------------------------------

Damage = Callable[[Path, random.Random], object]  # may return the path to give instead


def _bytes(change: Callable[[bytes, random.Random], bytes]) -> Damage:
    return lambda path, rng: path.write_bytes(change(path.read_bytes(), rng))


def _instead(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path, rng: random.Random) -> None:
        path.unlink()
        make(path)

    return damage


def _content(content: bytes) -> Damage:
    return _bytes(lambda data, rng: content)


def _named(name: str) -> Damage:
    return lambda path, rng: path.rename(path.with_name(name + "".join(path.suffixes)))


def _cut(data: bytes, rng: random.Random) -> bytes:
    """Without the end, at no place where the rest would be whole."""
    return data.rstrip()[: -rng.randint(2, 9)]


def _one_wrong(line: bytes) -> Damage:
    """A line among the others."""

    def change(data: bytes, rng: random.Random) -> bytes:
        lines = data.splitlines(keepends=True)
        lines.insert(rng.randint(1, len(lines)), line + b"\n")
        return b"".join(lines)

    return _bytes(change)


def _encoded(name: str) -> Damage:
    return _bytes(lambda data, rng: (data.decode() + "\n").encode(name, "replace"))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 12345\n"
DAMAGE: dict[str, tuple[tuple[str, ...], Damage, Expected]] = {
    "byte order mark": (TEXTUAL, _bytes(lambda d, r: b"\xef\xbb\xbf" + d), "accepted"),
    "Windows line ends": (
        ("jsonl", *JSON),
        _bytes(lambda d, r: d.replace(b"\n", b"\r\n")),
        "accepted",
    ),
    "old Mac line ends": (("jsonl",), _bytes(lambda d, r: d.replace(b"\n", b"\r")), "accepted"),
    "empty lines": (
        ("jsonl",),
        _bytes(lambda d, r: b"\n" + d.replace(b"\n", b"\n \n")),
        "accepted",
    ),
    "no last line end": (LINES + TABLES, _bytes(lambda d, r: d.rstrip(b"\n")), "accepted"),
    "cut": (("jsonl", *JSON), _bytes(_cut), "refused"),
    "cut binary": (
        ("parquet", "feather", "jsonl.gz", "jsonl.xz", "jsonl.zst"),
        _bytes(_cut),
        "refused",
    ),
    "key twice": (LINES, _one_wrong(b'{"prompt": "a", "prompt": "b", "response": "c"}'), "refused"),
    "comment": (LINES, _one_wrong(b"// a comment"), "refused"),
    "Python's spelling": (LINES, _one_wrong(b"{'prompt': 'a', 'response': None}"), "refused"),
    "NaN": (LINES, _one_wrong(b'{"prompt": NaN, "response": "c"}'), "refused"),
    "list among objects": (LINES, _one_wrong(b'["a", "b"]'), "refused"),
    "null among objects": (LINES, _one_wrong(b"null"), "refused"),
    "deep nesting": (LINES, _one_wrong(b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}"), "refused"),
    "zero byte": (LINES, _one_wrong(b'{"prompt": "a\x00", "response": "c"}'), "refused"),
    "raw line break in a text": (
        LINES,
        _one_wrong(b'{"prompt": "a\nb", "response": "c"}'),
        "refused",
    ),
    "merge conflict": (LINES, _one_wrong(b"<<<<<<< HEAD"), "refused"),
    "Latin-1 among UTF-8": (LINES, _one_wrong(b'{"prompt": "\xe9", "response": "c"}'), "refused"),
    "Latin-1": (("csv", "pretty list"), _bytes(lambda d, r: d.replace(b"N", b"\xe9")), None),
    "UTF-16": (("jsonl", "csv"), _encoded("utf-16"), "refused"),
    "UTF-32": (("jsonl",), _encoded("utf-32"), "refused"),
    "UTF-16 without mark": (("jsonl",), _encoded("utf-16-le"), "refused"),
    "empty": (FORMATS, _content(b""), "refused"),
    "white space": (TEXTUAL, _content(b" \n\n \n"), "refused"),
    "LFS pointer": (FORMATS, _content(LFS), "refused"),
    "HTML page": (
        FORMATS,
        _content(b"<!DOCTYPE html>\n<html><body>404</body></html>\n" * 9),
        "refused",
    ),
    "error as JSON": (TEXTUAL, _content(b'{"error": "Repository not found"}'), "refused"),
    "number": (TEXTUAL, _content(b"42\n"), "refused"),
    "zip archive": (FORMATS, _content(b"PK\x03\x04" + bytes(range(256))), "refused"),
    "pickle": (FORMATS, _content(b"\x80\x04\x95" + bytes(range(99))), "refused"),
    "image": (FORMATS, _content(b"\x89PNG\r\n\x1a\n" + bytes(range(200))), "refused"),
    "PDF": (FORMATS, _content(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"), "refused"),
    "random bytes": (FORMATS, _bytes(lambda d, r: r.randbytes(500)), "refused"),
    "plain text": (TEXTUAL, _content(b"Dear all,\nplease find attached\n" * 9), "refused"),
    "gzip of nothing": (("jsonl.gz", "csv.gz"), _content(gzip.compress(b"")), "refused"),
    "gzip twice": (("jsonl.gz",), _bytes(lambda d, r: gzip.compress(d)), None),
    "wrong suffix": (FILES, lambda p, r: p.rename(p.with_name("data.txt")), None),
    "no suffix": (LINES, lambda p, r: p.rename(p.with_name("data")), "accepted"),
    "FIFO": (LINES, _instead(os.mkfifo), "refused"),
    "empty folder": (LINES, _instead(Path.mkdir), "refused"),
    "missing": (LINES, lambda p, r: p.unlink(), "refused"),
    "dangling link": (LINES, _instead(lambda p: p.symlink_to("elsewhere")), "refused"),
    "link to itself": (LINES, _instead(lambda p: p.symlink_to(p.name)), "refused"),
    "endless device": (LINES, _instead(lambda p: p.symlink_to("/dev/zero")), "refused"),
    "empty device": (LINES, _instead(lambda p: p.symlink_to("/dev/null")), "refused"),
    "link": (FILES, lambda p, r: _linked(p), "accepted"),
    "folder below a file": (LINES, lambda p, r: p / "data.jsonl", "refused"),
    "long name": (LINES, lambda p, r: p.with_name("x" * 300 + ".jsonl"), "refused"),
    "name with blanks": (FILES, _named("my own  data"), "accepted"),
    "name with letters": (FILES, _named("дані-é-数据"), "accepted"),
    "name with quotes": (LINES, _named('it\'s $HOME "q" `x` \\ #1: {a}'), "accepted"),
    "name with an option": (LINES, _named("--help"), "accepted"),
    "name with a line break": (LINES, _named("a\nb"), None),
    "name with a terminal code": (LINES, _named("a\x1b[31mb"), None),
    "name without letters": (LINES, _named("数"), None),
    "name that is not UTF-8": (LINES, _named("a\udcff"), "refused"),
}


def _linked(path: Path) -> Path:
    link = path.with_name("link" + "".join(path.suffixes))
    link.symlink_to(path)
    return link
