"""Resume points that survive kill −9, and a lock that lets one process at a time train a run.

Files appear complete, by rename. With several ranks a resume point consists of several files; it
counts once all of them and their checksums are there, and only then the previous one is removed.
The folder is not a declared output, because Snakemake deletes those before a job. File names
contain a hash of everything that determines the result, so a state only resumes the run that wrote
it.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sft_tradeoff.system.files import (
    DamagedFileError,
    atomic_write_text,
    checksum_path,
    path_with_checksum,
    verify_checksum,
)

logger = logging.getLogger(__name__)
POLL_S = 0.2
PR_SET_PDEATHSIG = 1


def state_key(**facts: Any) -> str:
    """Hash of everything that determines a run's result (JSON-serializable facts)."""
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class StateFile:
    """The latest resume point of one run, in one or several files.

    Sharded ranks hold different state and write one file each; otherwise one file serves all.

    Args:
        folder: Folder for the resume points of this run.
        key: See :func:`state_key`.
        part: Number of the file that this rank writes and reads, from 0.
        n_parts: Files per resume point.
    """

    def __init__(self, folder: Path, key: str, part: int = 0, n_parts: int = 1) -> None:
        self.folder, self.key, self.part, self.n_parts = folder, key, part, n_parts

    def save(self, state: dict[str, Any], step: int) -> None:
        """Write this rank's part; the previous resume point stays until :meth:`keep_only`."""
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(f".{self.key}.*.{self.part}of{self.n_parts}.*.tmp.pt"):
            leftover.unlink()  # of a killed process: as large as the resume point itself
        with path_with_checksum(self._path(step)) as temporary:
            torch.save(state, temporary)

    def keep_only(self, step: int) -> None:
        """Remove this rank's parts of other resume points, once all ranks have saved this one."""
        for path in self._parts(str(self.part)):
            if path != self._path(step):
                checksum_path(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """Return this rank's part of the newest resume point that is complete, with checksums.

        None if there is no such point, or if it is damaged.
        """
        import torch

        parts = self._parts("*")
        found = Counter(int(p.name.split(".")[1]) for p in parts if checksum_path(p).is_file())
        complete = [step for step, n_parts in found.items() if n_parts == self.n_parts]
        if not complete:
            if parts:
                logger.warning(
                    "resume point %s lacks a part or a checksum: writing was interrupted, or an "
                    "older version wrote it; starting over",
                    parts[0],
                )
            return None
        path = self._path(max(complete))
        try:
            verify_checksum(path)
        except (DamagedFileError, OSError) as error:
            logger.warning("resume point %s is damaged (%s); starting over", path, error)
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def _path(self, step: int) -> Path:
        return self.folder / f"{self.key}.{step}.{self.part}of{self.n_parts}.pt"

    def _parts(self, part: str) -> list[Path]:
        return list(self.folder.glob(f"{self.key}.*.{part}of{self.n_parts}.pt"))

    def clear(self) -> None:
        """Remove all resume points of this run, once its final weights exist."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def exclusive(state_folder: Path | None) -> Iterator[None]:
    """Let one process at a time train a run: an orphan of a killed Snakemake may still be running.

    The kernel holds the lock, so a killed process leaves none behind. With several ranks the first
    one holds it for all. The others also wait until it has the lock, because they would time out
    waiting for it to join them. A rank ends with its launcher; otherwise the orphans of a killed
    launcher could go on after the rank that holds the lock has ended.
    """
    if state_folder is None:
        yield
        return
    rank, launcher = os.environ.get("RANK"), str(os.getppid())
    turn = state_folder.with_name(f"{state_folder.name}.launcher")
    if rank is not None:
        _end_with_parent()
    if rank not in (None, "0"):
        while _text_of(turn) != launcher:
            time.sleep(POLL_S)
        yield
        return
    with _locked(state_folder):
        if rank is not None:
            atomic_write_text(turn, launcher)
        try:
            yield
        finally:
            turn.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(state_folder: Path) -> Iterator[None]:
    state_folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{state_folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is training this run; waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _text_of(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def _end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
