"""Recognize a file that is not JSONL, and suggest a command that converts it."""

from __future__ import annotations

import codecs
import itertools
import json
import shlex
from pathlib import Path

_UTF = "the encoding is {0}; convert it with iconv -f {0} -t UTF-8 {{redirected}}"
_AS_LINES = "{target!r}, orient='records', lines=True"
_BINARY = {
    codecs.BOM_UTF32_LE: _UTF.format("UTF-32"),  # before UTF-16, whose mark is its beginning
    codecs.BOM_UTF32_BE: _UTF.format("UTF-32"),
    codecs.BOM_UTF16_LE: _UTF.format("UTF-16"),
    codecs.BOM_UTF16_BE: _UTF.format("UTF-16"),
    b"\x1f\x8b": "it is compressed with gzip; decompress it with gunzip < {redirected}",
    b"BZh": "it is compressed with bzip2; decompress it with bunzip2 < {redirected}",
    b"\xfd7zXZ": "it is compressed with xz; decompress it with unxz < {redirected}",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd; decompress it with unzstd < {redirected}",
    b"PK\x03\x04": "it is a zip archive or a spreadsheet; export its rows as JSONL",
    b"PAR1": "it is Parquet; convert it with pandas: read_parquet({source!r})"
    f".to_json({_AS_LINES})",
}
# Windows-1252 is Latin-1 with letters and quotes instead of rare control characters.
_CP1252 = (
    "if it is Western European (Windows-1252, Latin-1), convert it with iconv -f CP1252 -t UTF-8 "
    "{redirected}"
)
_OTHER_ENCODING = (
    "find its encoding (not Windows-1252, which has no such bytes) and convert it with "
    "iconv -f ENCODING -t UTF-8 {redirected}"
)
_MIXED = (
    "other lines are UTF-8, so do not convert this file: convert the files that were joined, and "
    "join them again"
)
_LIST = (
    "it is one JSON value, not one object per line; convert a list with jq -c '.[]' {redirected}"
)
# As text: pandas would read 19.90 as 19.9, and the answer None as a missing value.
_CSV = (
    "convert it, e.g. with pandas: read_csv({source!r}, dtype=str, keep_default_na=False)"
    f".to_json({_AS_LINES})"
)


def other_kind(path: Path, raw: bytes) -> str | None:
    """Say what a file is instead of JSONL, and how to convert it; None if it may be JSONL.

    Args:
        path: The file, for the advice.
        raw: Its content, without a UTF-8 byte order mark.
    """
    for start, kind in _BINARY.items():
        if raw.startswith(start):
            return _filled(kind, path)
    if (zero := raw.find(b"\x00")) >= 0:
        line = raw.count(b"\n", 0, zero) + 1
        return f"line {line}: a zero byte; the file is UTF-16 or damaged, save it as UTF-8"
    if wrong := _not_utf_8(raw):
        return f"{wrong}; {_filled(_conversion(raw), path)}"
    lines = [line.strip() for line in raw.split(b"\n") if line.strip()]
    if not lines:
        return "it is empty; write one JSON object per line"
    if _is_one_value(raw, len(lines)):
        return _filled(_LIST, path)
    if any(line.startswith(b"{") for line in lines):
        return None
    shown = lines[0].decode()[:60]
    if any(mark in shown for mark in ",;\t"):
        return f"line 1: {shown!r} looks like CSV; {_filled(_CSV, path)}"
    return f"no line is a JSON object; line 1 is {shown!r}"


def _filled(advice: str, path: Path) -> str:
    target = _unused(path)
    redirected = f"{shlex.quote(str(path))} > {shlex.quote(str(target))}"
    return advice.format(source=str(path), target=str(target), redirected=redirected)


def _unused(path: Path) -> Path:
    """A new path for the converted file: a shell would empty the file before reading it."""
    numbered = (path.with_name(f"{path.stem}-{n}.jsonl") for n in itertools.count(2))
    candidates = itertools.chain([path.with_name(f"{path.stem}.jsonl")], numbered)
    return next(candidate for candidate in candidates if not candidate.exists())


def _not_utf_8(raw: bytes) -> str | None:
    """Say which lines are not UTF-8, in one sentence for the whole file."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, start = raw.count(b"\n", 0, error.start) + 1, raw.rfind(b"\n", 0, error.start) + 1
        others = sum(map(_is_undecodable, raw[error.end :].split(b"\n")[1:]))
        more = f" (and {others} more {'line' if others == 1 else 'lines'})" if others else ""
        return f"line {line}: not UTF-8 at byte {error.start - start}{more}"
    return None


def _conversion(raw: bytes) -> str:
    """Advice for a file that is not UTF-8, or only partly."""
    if any(not line.isascii() and not _is_undecodable(line) for line in raw.split(b"\n")):
        return _MIXED
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return _OTHER_ENCODING
    return _CP1252


def _is_undecodable(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _is_one_value(raw: bytes, n_lines: int) -> bool:
    """Whether the file is a list, or an object over several lines."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) or n_lines > 1
