"""Origin of a result: versions, hashes and hardware class, without host names or paths."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

PACKAGES = ("torch", "transformers", "accelerate", "lm-eval", "datasets", "numpy", "peft")


def run_info(config: dict[str, Any]) -> dict[str, Any]:
    """Return the resolved config and the commit that it ran at (None outside a git checkout)."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "config": config,
        "git_commit": commit,
        "git_dirty": None if status is None else bool(status),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def meta_info(base_model: Mapping[str, Any]) -> dict[str, Any]:
    """Return package versions, hardware class and the base model's hash.

    Args:
        base_model: The record of θ0, ``MODEL.json``.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "hardware": _hardware(),
        "base_model_sha256": base_model["sha256"],
    }


def _hardware() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def peak_memory_bytes() -> int:
    """Return peak device memory if this process used a GPU, otherwise peak resident memory."""
    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
