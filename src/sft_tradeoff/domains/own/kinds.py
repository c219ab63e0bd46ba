"""Recognize a file that holds no rows, and suggest what to do with it."""

from __future__ import annotations

import codecs
import io
import itertools
import shlex
import zipfile
from pathlib import Path

from sft_tradeoff.domains.own.lines import listed

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark is its beginning
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_TO_PARQUET = "write its rows as Parquet where it was made: pandas.DataFrame(rows).to_parquet"
_OTHERS = {
    b"version https://git-lfs": "it is a pointer of Git LFS, not the data; fetch the data with "
    "git lfs pull in its repository",
    b"SQLite format 3": "it is an SQLite database; export its table as CSV: sqlite3 -header -csv",
    b"%PDF": "it is a PDF document; give the rows as JSON lines or CSV",
    b"7z\xbc\xaf\x27\x1c": "it is a 7z archive; unpack it and give the file inside",
    b"Rar!": "it is a RAR archive; unpack it and give the file inside",
    b"\x04\x22\x4d\x18": "it is compressed with lz4; decompress it with lz4 -d",
    b"\x89HDF": f"it is an HDF5 file; {_TO_PARQUET}",
    b"\x93NUMPY": f"it is an array of NumPy; {_TO_PARQUET}",
    b"\xd0\xcf\x11\xe0": "it is a document of an old Microsoft Office; save the sheet as CSV UTF-8",
    b"FEA1": f"it is an old Feather file; {_TO_PARQUET}",
    b"Obj\x01": f"it is an Avro file; {_TO_PARQUET}",
}
_PICKLE = (
    "it is a Python pickle, which can run any program when it is read; where you trust it, write "
    "its rows as Parquet: pandas.DataFrame(rows).to_parquet"
)
_HTML = (
    "it is an HTML page, probably shown instead of the file; download the file itself (on a hub: "
    "resolve instead of blob in the address, and log in if asked)"
)
# Windows-1252 is Latin-1 with letters and quotes instead of rare control characters.
_CP1252 = "if it is Western European (Windows-1252, Latin-1), convert it with "
_OTHER_ENCODING = (
    "find its encoding (not Windows-1252, which has no such bytes) and convert it with "
)
_MIXED = (
    "other lines are UTF-8, so do not convert this file: convert the files that were joined, and "
    "join them again"
)
EMPTY = "it is empty; write one JSON object per line"


def other_kind(path: Path, raw: bytes, unpack: str = "") -> str | None:
    """Say what a file is if no rows can be read from it, and what helps; None if it may have some.

    Args:
        path: The file, for the advice.
        raw: Its content after decompression, without a UTF-8 byte order mark.
        unpack: The program that decompresses it.
    """
    for start, encoding in _MARKS.items():
        if raw.startswith(start):
            command = _conversion(encoding, path, unpack)
            return f"the encoding is {encoding}; convert it with {command}"
    for start, kind in _OTHERS.items():
        if raw.startswith(start):
            return kind
    if raw.startswith(b"PK\x03\x04"):
        return _zip(raw)
    if raw[:1] == b"\x80" and raw[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and raw[-1:] == b".":
        return _PICKLE
    if raw[257:262] == b"ustar":
        return "it is a tar archive; unpack it with tar -xf and give the file or folder inside"
    if raw[:1000].lstrip()[:9].lower() in (b"<!doctype", b"<html>") or raw[:5] == b"<html":
        return _HTML
    if (zero := raw.find(b"\x00")) >= 0:
        line = raw.count(b"\n", 0, zero) + 1
        return f"line {line}: a zero byte; the file is UTF-16 or damaged, save it as UTF-8"
    return None if raw.strip() else EMPTY


def _zip(raw: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError):
        return "it is a damaged zip archive; copy or download it again"
    if any(name.startswith("xl/") for name in names):
        return "it is an Excel workbook; save the sheet with the data as CSV UTF-8"
    if "content.xml" in names:
        return "it is an OpenDocument file; save the sheet with the data as CSV UTF-8"
    if any(name.endswith("data.pkl") for name in names):
        return f"it is a file of PyTorch; {_TO_PARQUET}"
    return f"it is a zip archive; unpack it and give the file inside ({listed(names)})"


def other_encoding(path: Path, raw: bytes, unpack: str = "") -> str:
    """Say which lines of a text are not UTF-8, in one sentence, and how to convert it."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, start = raw.count(b"\n", 0, error.start) + 1, raw.rfind(b"\n", 0, error.start) + 1
        others = sum(map(_is_undecodable, raw[error.end :].split(b"\n")[1:]))
        more = f" (and {others} more {'line' if others == 1 else 'lines'})" if others else ""
        wrong = f"line {line}: not UTF-8 at byte {error.start - start}{more}"
        return f"{wrong}; {_advice(path, raw, unpack)}"
    raise AssertionError("the text is UTF-8")


def _advice(path: Path, raw: bytes, unpack: str) -> str:
    """Advice for a file that is not UTF-8, or only partly."""
    if any(not line.isascii() and not _is_undecodable(line) for line in raw.split(b"\n")):
        return _MIXED
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return _OTHER_ENCODING + _conversion("ENCODING", path, unpack)
    return _CP1252 + _conversion("CP1252", path, unpack)


def _conversion(encoding: str, path: Path, unpack: str) -> str:
    """A command that writes the text as UTF-8 into a new file."""
    source, target = shlex.quote(str(path)), shlex.quote(str(_unused(path, bool(unpack))))
    convert = f"iconv -f {encoding} -t UTF-8"
    command = f"{unpack} < {source} | {convert}" if unpack else f"{convert} {source}"
    return f"{command} > {target}"


def _unused(path: Path, is_compressed: bool) -> Path:
    """A new path for the converted file: a shell would empty the file before reading it."""
    name = path.with_suffix("") if is_compressed and path.suffix else path
    suffix = name.suffix or ".jsonl"
    numbered = (name.with_name(f"{name.stem}-{n}{suffix}") for n in itertools.count(2))
    return next(candidate for candidate in numbered if not candidate.exists())


def _is_undecodable(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False
