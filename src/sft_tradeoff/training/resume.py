"""Training state that survives kill −9: whole files by rename, named by what they belong to.

A resume point of several files counts once all are there and sealed; only then its predecessor
goes.
The folder is not a declared output (Snakemake deletes those before a job); its name is the hash of
everything that determines the result, so a state can only ever resume the run that wrote it.
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
    """Hash of everything that determines a run's result (JSON-serialisable facts)."""
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class StateFile:
    """The latest resume point of one run, in one file per rank that holds state of its own.

    Args:
        folder: Folder for the states of this run.
        key: See :func:`state_key`.
        part: Which file this rank writes and reads, from 0.
        n_parts: Files that make a resume point.
    """

    def __init__(self, folder: Path, key: str, part: int = 0, n_parts: int = 1) -> None:
        self.folder, self.key, self.part, self.n_parts = folder, key, part, n_parts

    def save(self, state: dict[str, Any], step: int) -> None:
        """Write this rank's part beside the previous resume point; see :meth:`keep_only`."""
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
        """Return this rank's part of the newest resume point that has all its parts, sealed.

        None where there is no such point, or where it is damaged.
        """
        import torch

        parts = self._parts("*")
        found = Counter(int(p.name.split(".")[1]) for p in parts if checksum_path(p).is_file())
        complete = [step for step, n_parts in found.items() if n_parts == self.n_parts]
        if not complete:
            if parts:
                logger.warning(
                    "resume point %s lacks a part or a digest: it was being written, or an older "
                    "version wrote it; starting over", parts[0],
                )  # fmt: skip
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
        """Remove all states of this run; its final weights exist now."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def exclusive(state_folder: Path | None) -> Iterator[None]:
    """Let one process at a time train a run: a killed Snakemake's orphan may still be at it.

    The lock is the kernel's, so a killed process leaves none behind. With several ranks the first
    one holds it for all, and the others wait for its turn too: they would wait in vain for it to
    join them, and give up. A rank ends with its launcher, or the orphans of a killed one would go
    on without the lock that the first of them holds.
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
