"""A folder for caches and a user name, for containers whose user has neither.

Without a name Python's ``getpass`` fails, without a home Snakemake, which writes to ``~/.cache`` as
other libraries do.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import MutableMapping
from pathlib import Path


def supply_home(environment: MutableMapping[str, str], folder: Path) -> None:
    """Set ``USER``, ``HOME``, ``XDG_CACHE_HOME`` and ``MPLCONFIGDIR`` where programs need them.

    A home that exists is kept, because it may hold tokens and settings; only what is written goes
    elsewhere.

    Args:
        environment: That of this process; changed.
        folder: Replaces the home, or its cache.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError: from Python 3.13
        environment["USER"] = str(os.getuid())
    if not os.path.isabs(os.path.expanduser("~")):
        environment["HOME"] = str(folder.absolute())
    cache = environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not _can_be_written(Path(cache)):
        environment["XDG_CACHE_HOME"] = str(folder.absolute())
        environment.setdefault("MPLCONFIGDIR", str(folder.absolute() / "matplotlib"))


def _can_be_written(folder: Path) -> bool:
    """Whether a folder, existing or not, can hold new files."""
    # os.path: Path.exists raises an error below a folder that may not be entered, such as /root.
    existing = next(filter(os.path.exists, (folder, *folder.absolute().parents)))
    return os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)
