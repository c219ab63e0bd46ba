"""Keys that the kernel keeps for the caller are out of a program's reach."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sft_tradeoff.sandbox import jail
from sft_tradeoff.sandbox.run import Limits
from tests.unit.sandbox.test_run import RUN

pytestmark = pytest.mark.usefixtures("sandbox")
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_KEYCTL = jail.SYS_KEYCTL.get(os.uname().machine, -1)
SYS_ADD_KEY = SYS_KEYCTL - 2
SEARCH, READ, INVALIDATE = 10, 11, 21
KEYRINGS = {"session": -3, "user": -4, "user session": -5}
# Names the keyrings in which the key is found, and says whether its number is enough to read it.
LOOK = """
import ctypes
keyctl = lambda *arguments: ctypes.CDLL(None).syscall({keyctl}, *arguments)
found = [
    name for name, keyring in {keyrings}.items()
    if keyctl({search}, keyring, b"user", {name}, 0) > 0
]
raise RuntimeError(found + ["number"] * (keyctl({read}, {number}, None, 0) > 0))
"""
# A filter of system calls, as containers have it: keyctl fails.
BLOCK = """
import ctypes, struct
fail, allow = 0x50000 + {error}, 0x7FFF0000
code = [(0x20, 0, 0, 0), (0x15, 0, 1, {number}), (6, 0, 0, fail), (6, 0, 0, allow)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(text)))
assert not ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) and not ctypes.CDLL(None).prctl(22, 2, program)
from sft_tradeoff.sandbox.run import run_python
print(run_python({program!r}))
"""


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """A thread with a session keyring of its own; the kernel keeps it per thread."""
    with ThreadPoolExecutor(1, initializer=jail.leave_keyrings) as pool:
        yield pool


def add_key(name: bytes, keyring: str) -> int:
    number = LIBC.syscall(SYS_ADD_KEY, b"user", name, b"secret", 6, KEYRINGS[keyring])
    if number < 0 and ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
        pytest.skip("this kernel or container has no keys")
    assert number > 0, os.strerror(ctypes.get_errno())
    return number


@RUN
@pytest.mark.parametrize(
    ("keyring", "ways"),
    [
        ("session", ["session", "number"]),
        ("user", ["user", "user session"]),  # one holds the other
        ("user session", ["user session"]),
    ],
)
def test_a_key_is_found_outside_and_not_inside(thread, run, keyring, ways):
    name = secrets.token_hex(8).encode()
    number = thread.submit(add_key, name, keyring).result()
    try:
        look = LOOK.format(
            keyctl=SYS_KEYCTL,
            keyrings=KEYRINGS,
            search=SEARCH,
            read=READ,
            name=name,
            number=number,
        )
        outside = thread.submit(
            subprocess.run, [sys.executable, "-c", look], capture_output=True, text=True
        ).result()
        assert f"RuntimeError: {ways}" in outside.stderr
        assert thread.submit(run, look, Limits()).result().reason == "RuntimeError: []"
    finally:
        thread.submit(LIBC.syscall, SYS_KEYCTL, INVALIDATE, number).result()


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_where_keyctl_is_blocked_the_program_cannot_call_it_either(error):
    """So there is nothing to protect, and programs run."""
    program = f"import ctypes\nassert ctypes.CDLL(None).syscall({SYS_KEYCTL}, 0, -3, 0) == -1"
    call = BLOCK.format(number=SYS_KEYCTL, error=error, program=program)
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert done.stdout == "Outcome(status='passed', reason='')\n", done.stderr


def test_without_a_new_keyring_nothing_runs():
    """As where the user's quota of keys is used up."""
    call = BLOCK.format(number=SYS_KEYCTL, error=errno.EDQUOT, program="pass")
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert "SandboxRefused" in done.stderr and "keyctl: Disk quota exceeded" in done.stderr
    assert done.stdout == ""


def test_a_processor_without_a_known_number_is_refused(monkeypatch):
    monkeypatch.setattr(jail, "SYS_KEYCTL", {})
    with pytest.raises(OSError, match=f"keyctl is not known for {os.uname().machine}"):
        jail.leave_keyrings()
