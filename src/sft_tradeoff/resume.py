"""Training state that survives kill −9: one file, replaced by rename, named by what it belongs to.

The folder is not a declared output (Snakemake deletes those before a job); its name is the hash of
everything that determines the result, so a state can only ever resume the run that wrote it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from sft_tradeoff.files import atomic_path

logger = logging.getLogger(__name__)


def state_key(**facts: Any) -> str:
    """Hash of everything that determines a run's result (JSON-serialisable facts)."""
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class StateFile:
    """The latest resume point of one run.

    Args:
        folder: Folder for the states of this run.
        key: See :func:`state_key`.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.path = folder / f"{key}.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Replace the resume point; a reader sees the old or the new one, never a part."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as temporary:
            torch.save(state, temporary)

    def load(self) -> dict[str, Any] | None:
        """Return the resume point, or None where there is none (or it cannot be read)."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            logger.warning("resume point %s is damaged (%s); starting over", self.path, error)
            return None
        return state

    def clear(self) -> None:
        """Remove all states of this run; its final weights exist now."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def exclusive(state_folder: Path | None) -> Iterator[None]:
    """Let one process at a time train a run: a killed Snakemake's orphan may still be at it.

    The lock is the kernel's, so a killed process leaves none behind. With several ranks the first
    one holds it for all.
    """
    if state_folder is None or os.environ.get("RANK", "0") != "0":
        yield
        return
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
