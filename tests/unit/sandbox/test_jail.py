"""Where the sandbox cannot keep its promises, it says so and no program runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sft_tradeoff.sandbox import run as execution
from sft_tradeoff.sandbox.run import SandboxError, SandboxRefused, require_sandbox, run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")


def in_user_namespace(command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command as root of a new user namespace."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", command],
        capture_output=True,
        text=True,
    )
    if done.stderr.startswith("unshare: "):
        pytest.skip(done.stderr.strip())
    return done


def is_refused() -> bool:
    """Whether this machine's kernel refuses already."""
    try:
        require_sandbox()
    except SandboxRefused:
        return True
    return False


@pytest.mark.usefixtures("sandbox")
def test_this_machine_keeps_the_promises():
    require_sandbox()


def test_without_namespaces_nothing_runs(tmp_path):
    """The kernel is set to refuse further user namespaces, if it does not refuse them anyway.

    In the open, the program could write where it tries to.
    """
    trace = tmp_path / "ran"
    program = f"open({str(trace)!r}, 'w').close()"
    call = f"from sft_tradeoff.sandbox.run import *; print(run_python({program!r}))"
    command = [sys.executable, "-c", call]
    if is_refused():
        done = subprocess.run(command, capture_output=True, text=True)
    else:
        script = tmp_path / "call.py"
        script.write_text(call)
        done = in_user_namespace(
            f"echo 0 > /proc/sys/user/max_user_namespaces; exec {sys.executable} {script}"
        )
        assert "machine ([Errno 28] unshare: No space left on device), so" in done.stderr
    assert "SandboxRefused: generated code cannot be isolated on this machine (" in done.stderr
    assert "so none is run; the sandbox needs Linux 5.12 with user namespaces" in done.stderr
    assert done.returncode == 1 and done.stdout == ""
    assert not trace.exists()
    subprocess.run([sys.executable, "-c", program], check=True)
    assert trace.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_where_a_promise_does_not_hold_the_check_refuses():
    """Processes in root's user namespace belong to root, for whom the kernel sets no limit."""
    call = "from sft_tradeoff.sandbox.run import *; require_sandbox()"
    done = in_user_namespace(f'exec {sys.executable} -c "{call}"')
    assert "starting a process was allowed" in done.stderr and done.returncode == 1


@pytest.mark.parametrize(
    ("report", "reason", "is_kernels"),
    [
        ('print(\'{"refused": "unshare: not permitted"}\')', r"unshare: not permitted", True),
        ("raise ImportError('no ctypes')", "ImportError: no ctypes", False),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9", False),
        ('print(\'{"passed": false, "word": "", "status": "OSError: exec0"}\')', "exec", False),
    ],
)
def test_a_sandbox_that_fails_is_an_error_not_a_score(
    tmp_path, monkeypatch, report, reason, is_kernels
):
    """Only a refusal by the kernel has this name: nothing else may make tests skip."""
    script = tmp_path / "sandbox.py"
    script.write_text(report)
    monkeypatch.setattr(execution, "JAIL", script)
    message = rf"isolated on this machine \(.*{reason}.*, so none"
    with pytest.raises(SandboxError, match=message) as error:
        run_python("pass")
    assert isinstance(error.value, SandboxRefused) == is_kernels
