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

LINES, JSON = ("jsonl",), ("list", "pretty list", "pretty lines")
TABLES = ("csv", "tsv", "semicolons")
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
WRONG_LINES = {
    "key twice": b'{"prompt": "a", "prompt": "b", "response": "c"}',
    "comment": b"// a comment",
    "Python's spelling": b"{'prompt': 'a', 'response': None}",
    "NaN": b'{"prompt": NaN, "response": "c"}',
    "list among objects": b'["a", "b"]',
    "null among objects": b"null",
    "deep nesting": b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "zero byte": b'{"prompt": "a\x00", "response": "c"}',
    "raw line break in a text": b'{"prompt": "a\nb", "response": "c"}',
    "merge conflict": b"<<<<<<< HEAD",
    "Latin-1 among UTF-8": b'{"prompt": "\xe9", "response": "c"}',
}
OTHER_CONTENT = {
    "empty": (FORMATS, b""),
    "white space": (TEXTUAL, b" \n\n \n"),
    "LFS pointer": (FORMATS, LFS),
    "HTML page": (FORMATS, b"<!DOCTYPE html>\n<html><body>404</body></html>\n" * 9),
    "error as JSON": (TEXTUAL, b'{"error": "Repository not found"}'),
    "number": (TEXTUAL, b"42\n"),
    "zip archive": (FORMATS, b"PK\x03\x04" + bytes(range(256))),
    "pickle": (FORMATS, b"\x80\x04\x95" + bytes(range(99))),
    "image": (FORMATS, b"\x89PNG\r\n\x1a\n" + bytes(range(200))),
    "PDF": (FORMATS, b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"),
    "plain text": (TEXTUAL, b"Dear all,\nplease find attached\n" * 9),
    "gzip of nothing": (("jsonl.gz", "csv.gz"), gzip.compress(b"")),
}
PACKED = ("parquet", "feather", "jsonl.gz", "jsonl.xz", "jsonl.zst")
REFUSED: dict[str, tuple[tuple[str, ...], Damage]] = {
    **{name: (LINES, _one_wrong(line)) for name, line in WRONG_LINES.items()},
    **{name: (forms, _content(content)) for name, (forms, content) in OTHER_CONTENT.items()},
    "cut": (("jsonl", *JSON), _bytes(_cut)),
    "cut binary": (PACKED, _bytes(_cut)),
    "UTF-16": (("jsonl", "csv"), _encoded("utf-16")),
    "UTF-32": (LINES, _encoded("utf-32")),
    "UTF-16 without mark": (LINES, _encoded("utf-16-le")),
    "random bytes": (FORMATS, _bytes(lambda d, r: r.randbytes(500))),
    "FIFO": (LINES, _instead(os.mkfifo)),
    "empty folder": (LINES, _instead(Path.mkdir)),
    "missing": (LINES, lambda p, r: p.unlink()),
    "dangling link": (LINES, _instead(lambda p: p.symlink_to("elsewhere"))),
    "link to itself": (LINES, _instead(lambda p: p.symlink_to(p.name))),
    "endless device": (LINES, _instead(lambda p: p.symlink_to("/dev/zero"))),
    "empty device": (LINES, _instead(lambda p: p.symlink_to("/dev/null"))),
    "folder below a file": (LINES, lambda p, r: p / "data.jsonl"),
    "long name": (LINES, lambda p, r: p.with_name("x" * 300 + ".jsonl")),
    "name that is not UTF-8": (LINES, _named("a\udcff")),
}
ACCEPTED: dict[str, tuple[tuple[str, ...], Damage]] = {
    "byte order mark": (TEXTUAL, _bytes(lambda d, r: b"\xef\xbb\xbf" + d)),
    "Windows line ends": (("jsonl", *JSON), _bytes(lambda d, r: d.replace(b"\n", b"\r\n"))),
    "old Mac line ends": (LINES, _bytes(lambda d, r: d.replace(b"\n", b"\r"))),
    "empty lines": (LINES, _bytes(lambda d, r: b"\n" + d.replace(b"\n", b"\n \n"))),
    "no last line end": (LINES + TABLES, _bytes(lambda d, r: d.rstrip(b"\n"))),
    "no suffix": (LINES, lambda p, r: p.rename(p.with_name("data"))),
    "link": (FILES, lambda p, r: _linked(p)),
    "name with blanks": (FILES, _named("my own  data")),
    "name with letters": (FILES, _named("дані-é-数据")),
    "name with quotes": (LINES, _named('it\'s $HOME "q" `x` \\ #1: {a}')),
    "name with an option": (LINES, _named("--help")),
    "long name of one letter": (LINES, _named("x" * 200)),
}
EITHER: dict[str, tuple[tuple[str, ...], Damage]] = {
    "Latin-1": (("csv", "pretty list"), _bytes(lambda d, r: d.replace(b"N", b"\xe9"))),
    "gzip twice": (("jsonl.gz",), _bytes(lambda d, r: gzip.compress(d))),
    "wrong suffix": (FILES, lambda p, r: p.rename(p.with_name("data.txt"))),
    "name with a line break": (LINES, _named("a\nb")),
    "name with a terminal code": (LINES, _named("a\x1b[31mb")),
    "name without letters": (LINES, _named("数")),
}
DAMAGE: dict[str, tuple[tuple[str, ...], Damage, Expected]] = {
    **{name: (*one, "refused") for name, one in REFUSED.items()},
    **{name: (*one, "accepted") for name, one in ACCEPTED.items()},
    **{name: (*one, None) for name, one in EITHER.items()},
}


def _linked(path: Path) -> Path:
    link = path.with_name("link" + "".join(path.suffixes))
    link.symlink_to(path)
    return link
