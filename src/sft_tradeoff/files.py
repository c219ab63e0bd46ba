"""Files that are either whole or absent, whatever interrupts their writing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

PROBE = 2**16  # bytes


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` that becomes ``path`` if the block succeeds.

    A reader, a killed job or a full disk never meets half a file under the final name. The
    temporary file lies in the same folder (renaming is atomic within one file system only) and is
    removed on error.

    Args:
        path: The final name; missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are private to the user, while the cache may be shared.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except Exception as error:
        raise_disk_error(path.parent, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def raise_disk_error(folder: Path, error: Exception) -> None:
    """Raise the system's own error where a library hides that the disk took no more.

    Some say only that a file has another length than they wrote. So while what they wrote is still
    there, a few more bytes are tried.

    Args:
        folder: Where the library wrote.
        error: What it raised.

    Raises:
        OSError: If the folder takes nothing.
    """
    if isinstance(error, OSError):
        return
    probe = folder / f".{secrets.token_hex(6)}.tmp"
    try:
        with open(probe, "wb") as file:
            file.write(bytes(PROBE))
            os.fsync(file.fileno())
    except OSError as reason:
        raise reason from error
    finally:
        probe.unlink(missing_ok=True)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to a temporary name, fsync, rename; see :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def atomic_write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as indented JSON, atomically.

    NaN is written as ``NaN``: a missing score stays recognisable, it never becomes 0.
    """
    atomic_write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def open_hashed(path: str | Path) -> tuple[TextIO, str]:
    """Text of a UTF-8 file, and the SHA-256 of the very bytes that hold it: it is read once."""
    content = Path(path).read_bytes()
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"), hashlib.sha256(
        content
    ).hexdigest()


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
