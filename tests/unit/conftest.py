"""Tests that run programs in the sandbox skip where the kernel grants none, and only there."""

import os
import subprocess
import sys

import pytest

from sft_tradeoff.sandbox.jail import is_real_root
from sft_tradeoff.sandbox.run import SandboxRefused, require_sandbox


@pytest.fixture(scope="session")
def sandbox():
    """The product's own check; a sandbox that fails for another reason than the kernel's fails."""
    try:
        require_sandbox()
    except SandboxRefused as refusal:
        skip_refused(refusal.reason)


def skip_refused(reason, **user):
    """Skip, sure that it is not our sandbox that is wrong: the system's own tools are refused too.

    Args:
        reason: The kernel's.
        user: Who was refused, as :func:`subprocess.run` takes it.
    """
    assert not _kernel_grants(**user), f"unshare(1) and mount(8) work, the sandbox not: {reason}"
    pytest.skip(reason)


def _kernel_grants(**user):
    if sys.platform != "linux":
        return False
    own = [] if is_real_root() and not user else ["--user", "--map-root-user"]
    namespaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork"]
    mount = ["mount", "-t", "tmpfs", "none", "/proc"]
    done = subprocess.run(["unshare", *own, *namespaces, *mount], capture_output=True, **user)
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    return done.returncode == 0 and release >= (5, 12)
