"""Run Python programs written by a model in a sandbox, or refuse to run them.

A program runs in separate namespaces (see :mod:`sft_tradeoff.sandbox.jail`). It has no network, not
even the loopback interface. It can read only the system's libraries and the Python installation,
and write only to a small file system in memory. Its keyrings are empty. It does not see other
processes, and none of its processes are left when :func:`run_python` returns. Namespaces are used
rather than process groups because a process cannot leave them. If the kernel does not permit them,
nothing runs: there is no weaker mode.

Not covered: flaws of the kernel; ``AF_VSOCK`` in virtual machines, which is outside all namespaces;
memory outside any process (shared memory, files in memory), which only the time limit bounds; keys
of the kernel whose owner lets processes read them that do not possess them (no key is made so). A
program written against this module can also forge a pass; one that just exits early cannot.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sft_tradeoff.system.console import UserError

__all__ = [
    "Limits",
    "Outcome",
    "SandboxError",
    "SandboxRefused",
    "require_sandbox",
    "run_python",
]

JAIL = Path(__file__).with_name("jail.py")
# Added to the program's time limit, for setup and cleanup on a busy machine.
GRACE_S = 60.0
REASON_CHARACTERS = 200
# Fails if one of the guarantees does not hold, whatever the reason.
_PROBE = """
import os, socket, sys
assert os.getcwd() == "/tmp" and os.getuid() != 0
open("file", "w").close()
for folder in "/usr", sys.prefix:
    assert os.statvfs(folder).f_flag & os.ST_RDONLY, f"{folder} is writable"

def route_to(address):  # connecting a datagram socket sends nothing, it only needs a route
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect((address, 9))

for name, attempt in {
    "starting a process": os.fork,
    "changing the root folder": lambda: os.chroot("/tmp"),
    "reaching 127.0.0.1": lambda: route_to("127.0.0.1"),
    "reaching the network": lambda: route_to("192.0.2.1"),
}.items():
    try:
        attempt()
    except OSError:
        continue
    raise SystemExit(f"{name} was allowed")
"""


class SandboxError(UserError, RuntimeError):
    """Programs cannot be isolated on this machine, so none is run.

    Args:
        reason: What prevents it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"generated code cannot be isolated on this machine ({reason}), so none is run; the "
            "sandbox needs Linux 5.12 with user namespaces (sysctl user.max_user_namespaces above "
            "0, kernel.apparmor_restrict_unprivileged_userns=0) or root with CAP_SYS_ADMIN (in "
            "Docker: --privileged); otherwise remove the tasks that run code, such as human_eval, "
            "from evaluation.tasks"
        )


class SandboxRefused(SandboxError):
    """The kernel does not permit the sandbox, as opposed to a sandbox that fails."""


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Args:
        timeout_s: Wall-clock seconds; generous, because other jobs may use the processor.
        cpu_s: Processor seconds per process; does not depend on the machine's load.
        memory_bytes: Address space per process.
        max_file_bytes: Of all its files together.
        max_processes: Processes and threads, including the program itself.
    """

    timeout_s: float = 20.0
    cpu_s: int = 5
    memory_bytes: int = 1 << 30
    max_file_bytes: int = 1 << 24
    max_processes: int = 1


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Args:
        status: ``passed`` only if its last line was reached; ``killed`` by a signal.
        reason: One line, empty if passed. The program may have written it: do not parse it.
    """

    status: Literal["passed", "failed", "timeout", "memory", "killed"]
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the program reached its last line without an exception."""
        return self.status == "passed"


def run_python(program: str, limits: Limits = Limits()) -> Outcome:
    """Run a program in the sandbox and wait until all its processes are gone.

    As deterministic as the interpreter: hashes, and so the order of sets, are the same in every
    run. The program can import the standard library, but not installed packages.

    Args:
        program: Source text.
        limits: What it may use.

    Raises:
        SandboxRefused: If the kernel does not permit the sandbox; the program was not run.
        SandboxError: If the sandbox itself fails; the program has no outcome.
    """
    if sys.platform != "linux":
        raise SandboxRefused(f"the sandbox needs Linux, not {sys.platform}")
    request = json.dumps({"program": program, **asdict(limits)})
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(JAIL)],
            input=request.encode(),
            capture_output=True,
            env={},
            cwd="/",
            start_new_session=True,
            timeout=limits.timeout_s + GRACE_S,
        )
    except subprocess.TimeoutExpired:
        raise SandboxError("the sandbox does not terminate") from None
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise SandboxError(words[-1] if words else f"exit code {done.returncode}") from None
    if "refused" in report:
        raise SandboxRefused(report["refused"])
    return _outcome(report, limits)


@functools.cache
def require_sandbox() -> None:
    """Check once that the sandbox works on this machine.

    Raises:
        SandboxRefused: If the kernel does not permit it.
        SandboxError: If a guarantee does not hold, or Python does not start in it.
    """
    outcome = run_python(_PROBE)
    if not outcome.passed:
        raise SandboxError(f"the test program {outcome.status}: {outcome.reason}")


def _outcome(report: Mapping[str, Any], limits: Limits) -> Outcome:
    if report["passed"]:
        return Outcome("passed")
    if not report["status"]:
        return Outcome("timeout", f"not done after {limits.timeout_s:g} s")
    if not report["status"].isdigit():
        raise SandboxError(report["status"])
    code = os.waitstatus_to_exitcode(int(report["status"]))
    if code == -signal.SIGXCPU:
        return Outcome("timeout", f"not done after {limits.cpu_s} s of processor time")
    if code < 0:
        return Outcome("killed", signal.Signals(-code).name)
    word = " ".join(report["word"].split())[:REASON_CHARACTERS]
    if word.startswith("MemoryError"):
        return Outcome("memory", word)
    return Outcome("failed", word or f"exit code {code} before the last line")
