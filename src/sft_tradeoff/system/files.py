"""Files that are either whole or absent, and whose damage shows before anything is read.

A file that a later stage trusts has a checksum file, ``.<name>.sha256``, next to it. No format does
that itself: archives check their members but not the directory that says where they are,
Parquet checks pages but not their headers, and a wrong digit in a text is another number.
"""

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

from sft_tradeoff.system.console import UserError

PROBE = 2**16  # bytes


class DamagedFileError(UserError):
    """A file is not as it was written."""


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


def checksum_path(path: str | Path) -> Path:
    """Path of a file's checksum file, in the format of ``sha256sum --check``."""
    return Path(path).with_name(f".{Path(path).name}.sha256")


@contextlib.contextmanager
def path_with_checksum(path: str | Path) -> Iterator[Path]:
    """Like :func:`atomic_path`, and write the file's checksum next to it.

    The old checksum is removed first and the new one written last: a kill leaves at worst a file
    without a checksum, never a good file with the checksum of another.
    """
    checksum = checksum_path(path)
    with atomic_path(path) as temporary:
        yield temporary
        digest = sha256_of(temporary)
        checksum.unlink(missing_ok=True)
    atomic_write_text(checksum, f"{digest}  {Path(path).name}\n")


def verify_checksum(path: str | Path) -> None:
    """Compare a file with its checksum, if it has one; a user's own file has none.

    Raises:
        DamagedFileError: If any byte is not as it was written.
    """
    if checksum_path(path).is_file():
        _compare(path, sha256_of(path))


def _compare(path: str | Path, digest: str) -> None:
    checksum = checksum_path(path)
    if checksum.is_file() and checksum.read_bytes()[:64] != digest.encode():
        raise DamagedFileError(
            f"{path} is not as it was written; delete it and run the same command again"
        )


def atomic_write_text(path: str | Path, text: str, *, checksum: bool = False) -> None:
    """Write ``text`` as UTF-8 to a temporary name, fsync, rename; see :func:`atomic_path`."""
    with (path_with_checksum if checksum else atomic_path)(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def atomic_write_json(path: str | Path, data: Any, *, checksum: bool = False) -> None:
    """Write ``data`` as indented JSON, atomically.

    NaN is written as ``NaN``: a missing score stays recognizable, it never becomes 0.
    """
    atomic_write_text(
        path, json.dumps(data, indent=2, ensure_ascii=False) + "\n", checksum=checksum
    )


def read_json(path: str | Path) -> Any:
    """Read JSON, once sure that it is as it was written; see :func:`verify_checksum`."""
    verify_checksum(path)
    return json.loads(Path(path).read_text(encoding="utf-8"))


def open_hashed(path: str | Path) -> tuple[TextIO, str]:
    """Text of a UTF-8 file, and the SHA-256 of the very bytes that hold it: it is read once.

    Raises:
        DamagedFileError: If it has a checksum that its bytes do not match.
    """
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    _compare(path, digest)
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"), digest


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
