"""Files that are either complete or absent, and whose damage is detected before they are read.

A file that a later stage relies on has a checksum file, ``.<name>.sha256``, next to it. No file
format detects all damage: archives check their members but not their directory, Parquet checks
pages but not their headers, and a wrong digit in a text file is another number.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from sft_tradeoff.system.console import UserError

PROBE = 2**16  # bytes
# As libraries in Rust report ENOSPC, EFBIG and EDQUOT, e.g. safetensors; it removes its file.
_RUST_ERROR = re.compile(r"\(os error (28|27|122)\)")
LONGEST_PROBLEM = 300  # characters of another library's message


class DamagedFileError(UserError):
    """A file is not as it was written."""


def damaged(path: str | Path, problem: object) -> DamagedFileError:
    """The error for a file that this project wrote and cannot use.

    Args:
        path: The file.
        problem: What is wrong with it: a text, or the error of the library that read it.
    """
    text = " ".join(str(problem).split())  # Arrow's messages have several lines
    return DamagedFileError(
        f"{path}: damaged ({text[:LONGEST_PROBLEM]}); delete it and run the same command again"
    )


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to ``path`` if the block succeeds.

    No reader ever sees an incomplete file under the final name, even after a kill or on a full
    disk. The temporary file is in the same folder, because renaming is atomic only within one file
    system, and is removed on error.

    Args:
        path: The final path; missing parent folders are created.
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
        raise_disk_error(temporary, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def raise_disk_error(written: Path, error: Exception) -> None:
    """Raise the system's own error where a library hides that a file cannot grow.

    Some libraries only report that a file has an unexpected length. So a few more bytes are written
    to the largest file: the disk may be full, or a limit (``ulimit -f``) reached. Links are left
    alone, because they may lead to the user's own files.

    Args:
        written: What the library wrote and the caller removes: a file, or a folder of files.
        error: What it raised.

    Raises:
        OSError: If no more can be written.
    """
    if isinstance(error, OSError):
        return
    if found := _RUST_ERROR.search(str(error)):
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
    inside = [written / ".probe", *written.rglob("*")] if written.is_dir() else [written]
    probe = max(inside, key=_own_bytes)
    try:
        with open(probe, "ab") as file:
            file.write(bytes(PROBE))
            os.fsync(file.fileno())
    except OSError as reason:
        raise reason from error


def _own_bytes(path: Path) -> int:
    """Size of a file with one name; -1 for a link and a folder, 0 for what does not exist."""
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else -1


def remove_leftovers(out: Path) -> None:
    """Remove the temporary folders that killed processes left while they wrote a folder.

    ``tempfile`` appends eight characters to the prefix ``.<name>-``; a longer name belongs to a
    folder such as ``<name>-2``, which may be being written.
    """
    for leftover in out.parent.glob(f".{out.name}-{'?' * 8}"):
        shutil.rmtree(leftover, ignore_errors=True)


def checksum_path(path: str | Path) -> Path:
    """Return the path of a file's checksum file, which ``sha256sum --check`` can read."""
    return Path(path).with_name(f".{Path(path).name}.sha256")


@contextlib.contextmanager
def path_with_checksum(path: str | Path) -> Iterator[Path]:
    """Like :func:`atomic_path`, and write the file's checksum next to it.

    The old checksum is removed first and the new one written last, so a kill leaves at worst a file
    without a checksum, never a good file with another one's checksum.
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
        DamagedFileError: If they differ.
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

    NaN is written as ``NaN``, so that a missing score does not become 0.
    """
    atomic_write_text(
        path, json.dumps(data, indent=2, ensure_ascii=False) + "\n", checksum=checksum
    )


def read_json(path: str | Path) -> Any:
    """Read JSON that this project wrote.

    Raises:
        DamagedFileError: If it has a checksum that differs, or is not JSON.
    """
    verify_checksum(path)
    try:
        return json.loads(Path(path).read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None


def open_hashed(path: str | Path) -> tuple[TextIO, str]:
    """Read a UTF-8 file once and return its text with the SHA-256 of the same bytes.

    Raises:
        DamagedFileError: If it has a checksum that differs.
    """
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    _compare(path, digest)
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"), digest


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
