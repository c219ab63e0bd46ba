"""Read the rows of a data file: JSON, CSV, Parquet or Arrow, each also compressed.

The format is recognized from the content, not from the file's name, which decides only on a text
that begins like JSON and is not. Columns are not interpreted; numbers keep their digits, and nulls
are dropped.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sft_tradeoff.domains.own.json_rows import NotJsonError, Table, read_json
from sft_tradeoff.domains.own.kinds import other_encoding, other_kind
from sft_tradeoff.domains.own.lines import Number, listed
from sft_tradeoff.system.text import shown

if TYPE_CHECKING:
    import pyarrow

GIB = 2**30
MOST_BYTES = 2 * GIB
_AGAIN = "copy or download it again"
_DELIMITERS = ",;\t|"
_SNIFFED_ROWS = 20
_HEADER = (
    "; line 1 is read as the header of a {} file: if it is data, put a header line that names the "
    "columns, such as label{}text, on top"
)


def read_table(path: Path) -> Table:
    """Read all rows of a file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it has no rows, with the reason and the fix.
    """
    raw, unpack = path.read_bytes() if path.stat().st_size <= MOST_BYTES else _too_large(), ""
    for start, (program, opened) in _COMPRESSIONS.items():
        if raw.startswith(start):
            raw, unpack = _decompressed(path, program, opened), program
            break
    if raw.startswith(b"PAR1"):
        return _damage(lambda: read_arrow(_parquet_batches(raw)))
    if raw.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return _damage(lambda: read_arrow(_arrow_batches(raw)))
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if kind := other_kind(path, raw, unpack):
        raise ValueError(kind)
    try:
        return _read_text(raw, {suffix.lower() for suffix in path.suffixes})
    except UnicodeDecodeError:
        raise ValueError(other_encoding(path, raw, unpack)) from None


def _read_text(raw: bytes, suffixes: set[str]) -> Table:
    if _is_json(raw):
        try:
            return read_json(raw)
        except NotJsonError:
            if not suffixes & {".csv", ".tsv"}:
                raise
    return read_csv(raw.decode(), prefer="\t" if ".tsv" in suffixes else "")


def _open_zstd(path: Path) -> Any:
    import pyarrow as pa

    return pa.input_stream(str(path), compression="zstd")


_COMPRESSIONS: dict[bytes, tuple[str, Callable[[Path], Any]]] = {
    b"\x1f\x8b": ("gunzip", gzip.open),
    b"BZh": ("bunzip2", bz2.open),
    b"\xfd7zXZ": ("unxz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("unzstd", _open_zstd),
}


def _decompressed(path: Path, program: str, opened: Callable[[Path], Any]) -> bytes:
    raw = bytearray()
    try:
        with opened(path) as file:
            while chunk := file.read(2**20):
                raw += chunk
                if len(raw) > MOST_BYTES:
                    break
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"it is damaged: {program} fails ({_reason(error)}); {_AGAIN}") from None
    return bytes(raw) if len(raw) <= MOST_BYTES else _too_large()


def _too_large() -> NoReturn:
    raise ValueError(
        f"it has more than {MOST_BYTES // GIB} GiB; give a part of it, as a study trains on some "
        "thousand examples"
    )


def _damage(read: Callable[[], Table]) -> Table:
    """Read a binary table; what pyarrow reports is damage."""
    import pyarrow as pa

    try:
        return read()
    except (pa.ArrowException, OSError, UnicodeError, OverflowError) as error:
        raise ValueError(f"it is damaged ({_reason(error)}); {_AGAIN}") from None


def _reason(error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _is_json(raw: bytes) -> bool:
    """Whether a text is JSON, possibly with a first line that is not."""
    if raw[:1000].lstrip()[:1] in (b"{", b"["):
        return True
    lines = [line for line in raw.splitlines() if line.strip()]
    return 2 * sum(line.startswith(b"{") and line.endswith(b"}") for line in lines) > len(lines)


# --- Arrow ---------------------------------------------------------------------------------------


def _parquet_batches(raw: bytes) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with ParquetFile(pa.BufferReader(raw)) as file:
        yield from file.iter_batches()


def _arrow_batches(raw: bytes) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow as pa

    is_file = raw.startswith(b"ARROW1")
    with (pa.ipc.open_file if is_file else pa.ipc.open_stream)(pa.BufferReader(raw)) as reader:
        if is_file:
            yield from map(reader.get_batch, range(reader.num_record_batches))
        else:
            yield from reader


def read_arrow(batches: Iterator[pyarrow.RecordBatch]) -> Table:
    """Rows as JSON would give them: numbers as texts, without nulls.

    Raises:
        ValueError: If two columns have one name.
    """
    table = Table("row")
    for batch in batches:
        batch.validate(full=True)  # a wrong offset would be read beyond the end
        names = batch.schema.names
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ValueError(f"the column {shown(twice[0])} appears twice; keep one")
        columns = [_column(batch, name) for name in names]
        for cells in zip(*columns, strict=True):
            row = {n: cell for n, cell in zip(names, cells, strict=True) if cell is not None}
            table.add(len(table.rows) + 1, row)
    return table


def _column(batch: pyarrow.RecordBatch, name: str) -> list[Any]:
    import pyarrow as pa

    column = batch.column(name)
    labels = _labels(batch.schema, name)
    if labels:
        return [labels[i] if i is not None and i >= 0 else None for i in column.to_pylist()]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return list(column.to_pylist())
    if pa.types.is_float16(column.type) or pa.types.is_float32(column.type):
        # 0.1 as a 32-bit float is 0.10000000149011612 in 64 bits.
        texts = column.cast(pa.string()).to_pylist()
        return [Number(text) if text not in (None, "nan") else None for text in texts]
    if pa.types.is_temporal(column.type):
        return list(column.cast(pa.string()).to_pylist())
    return [_as_json(value) for value in column.to_pylist()]


def _labels(schema: pyarrow.Schema, name: str) -> list[str] | None:
    """Names of the classes that a column of the library ``datasets`` numbers."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return list(features[name]["names"]) if features[name]["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError):
        return None


def _as_json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items() if item is not None}
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    return None if value != value else Number(value)


# --- CSV -----------------------------------------------------------------------------------------


def read_csv(text: str, prefer: str = "") -> Table:
    """Rows of a text with one header and cells between commas, semicolons, tabs or bars.

    Cells are taken as written. Numbers are those of the lines where rows end.

    Args:
        text: The whole file.
        prefer: The delimiter to take if it divides the rows; empty: the one that divides them best.

    Raises:
        ValueError: If it has no header of at least two columns.
    """
    csv.field_size_limit(sys.maxsize)
    skipped = 1 if re.match(r"sep=.\r?\n", text) else 0  # a line for Excel
    delimiter = text[4] if skipped else _delimiter(text, prefer) or _delimiter(text)
    start = text.split("\n", 1)[0]
    if delimiter is None:
        raise ValueError(
            f"it is neither JSON nor CSV: line 1 is {shown(start)}; give JSON lines, a JSON list, "
            "CSV with a header, Parquet, or a folder saved with the library datasets"
        )
    spaced = f"{delimiter} " in start
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced
    )
    table = Table(note=_HEADER.format("TSV" if delimiter == "\t" else "CSV", delimiter))
    header: list[str] = []
    for row in _csv_rows(reader, table):
        if skipped:
            skipped -= 1
        elif not header:
            header = _header(row)
        elif len(row) != len(header):
            problem = f"{'more' if len(row) > len(header) else 'fewer'} cells than the header has"
            fix = f"quote cells that contain {delimiter!r}, or remove the example"
            table.problems.append((reader.line_num, f"{problem}; {fix}"))
        else:
            table.add(reader.line_num, dict(zip(header, row, strict=True)))
    return table


def _csv_rows(reader: Any, table: Table) -> Iterator[list[str]]:
    """The rows that are not blank; a broken one becomes a problem of the table."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = f"not valid CSV: {error}; write a quote within a quoted cell twice"
            table.problems.append((reader.line_num, what))
        else:
            if any(cell.strip() for cell in row):
                yield row


def _header(row: list[str]) -> list[str]:
    names = [sys.intern(name.strip()) for name in row]
    names = [name or f"column {i}" for i, name in enumerate(names, start=1)]
    if len(set(names)) < len(names):
        raise ValueError(f"line 1: two columns have one name ({listed(names)}); rename one")
    return names


def _delimiter(text: str, among: str = _DELIMITERS) -> str | None:
    """The delimiter that divides the first rows into equally many cells, at least two."""
    found: list[tuple[int, int, str]] = []
    for order, delimiter in enumerate(among):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            rows = [row for row, _ in zip(reader, range(_SNIFFED_ROWS), strict=False) if row]
        except csv.Error:
            continue
        if rows and len(rows[0]) > 1:
            alike = sum(len(row) == len(rows[0]) for row in rows)
            found.append((alike, -order, delimiter))
    return max(found)[2] if found else None
