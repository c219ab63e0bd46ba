"""The sandbox: what a program can do, what it cannot, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from sft_tradeoff.sandbox import run as execution
from sft_tradeoff.sandbox.run import Limits, run_python
from tests.unit.conftest import skip_refused

pytestmark = pytest.mark.usefixtures("sandbox")
ROOT = Path(__file__).resolve().parents[3]
MIB = 1 << 20

# Gives the process a name that the machine's list of processes shows.
RENAME = "import ctypes; ctypes.CDLL(None).prctl(15, {name!r}.encode(), 0, 0, 0)\n"
# How many processes can be started at once, as the reason of a failure.
COUNT_FORKS = """
import os, time
n = 0
while n < 100:
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except BlockingIOError:
        break
    n += 1
raise RuntimeError(n)
"""


def processes_named(name: str) -> list[str]:
    """Ids of all processes of the machine that have this name."""
    found = []
    for file in Path("/proc").glob("[0-9]*/comm"):
        try:
            if file.read_text().strip() == name:
                found.append(file.parent.name)
        except OSError:  # ended meanwhile
            continue
    return found


def run_as_ordinary_user(program: str, limits: Limits) -> execution.Outcome:
    """:func:`run_python`; for root as an unused user, who cannot run root's own interpreter."""
    if os.geteuid() != 0:
        return run_python(program, limits)
    user = {"user": 54321, "group": 54321, "extra_groups": []}
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no interpreter for all users")
    done = subprocess.run(
        [python, "-I", "-S", "-c", execution.JAIL.read_text()],
        env={},
        cwd="/",
        text=True,
        input=json.dumps({"program": program, **asdict(limits)}),
        capture_output=True,
        check=True,
        start_new_session=True,
        **user,
    )
    report = json.loads(done.stdout)
    if "refused" in report:
        skip_refused(report["refused"], **user)
    return execution._outcome(report, limits)


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- the verdict --------------------------------------------------------------------------------


def test_a_correct_program_passes():
    program = (
        "import math, dataclasses\nif __name__ == '__main__':\n    assert math.gcd(12, 18) == 6"
    )
    outcome = run_python(program)
    assert outcome.passed and outcome.reason == ""


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("assert 1 == 2, 'one is\\nnot two'", "AssertionError: one is not two"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os._exit(0)", "exit code 0 before the last line"),
        ("def f(:", "SyntaxError"),
        ("input()", "EOFError"),
        ("import os; os.closerange(3, 64)", "exit code 1"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("x = '\ud800'; assert x == '?'; raise ValueError('text replaced')", "text replaced"),
        ("a\0b", "null bytes"),
        ("import pytest", "ModuleNotFoundError"),
    ],
)
def test_only_the_last_line_makes_a_pass(program, reason):
    outcome = run_python(program)
    assert outcome.status == "failed" and not outcome.passed
    assert reason in outcome.reason


def test_a_crash_of_the_interpreter_is_named():
    outcome = run_python("import ctypes; ctypes.string_at(0)")
    assert (outcome.status, outcome.reason) == ("killed", "SIGSEGV")


def test_the_order_of_sets_is_the_same_in_every_run():
    """Two runs agree on the hash of a text; by chance that would happen once in 2^64."""
    first, second = (run_python("raise ValueError(hash('text'))").reason for _ in range(2))
    assert first == second and first.startswith("ValueError: ")


# --- limits -------------------------------------------------------------------------------------


def test_an_endless_loop_ends_by_its_processor_time():
    outcome = run_python("while True: pass", Limits(cpu_s=1, timeout_s=60))
    assert (outcome.status, outcome.reason) == ("timeout", "not done after 1 s of processor time")


def test_an_endless_wait_ends_by_the_clock():
    started = time.monotonic()
    outcome = run_python("import time; time.sleep(600)", Limits(timeout_s=0.5))
    assert (outcome.status, outcome.reason) == ("timeout", "not done after 0.5 s")
    assert 0.5 <= time.monotonic() - started < 15


@pytest.mark.parametrize(("max_processes", "n_forks"), [(1, 0), (8, 7)])
def test_processes_are_counted(max_processes, n_forks):
    """The program is the first of its processes."""
    outcome = run_python(COUNT_FORKS, Limits(max_processes=max_processes))
    assert outcome.reason == f"RuntimeError: {n_forks}"


def test_a_fork_bomb_is_over_when_the_time_is():
    name = f"b{secrets.token_hex(6)}"
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    limits = Limits(max_processes=8, timeout_s=0.7)
    assert run_python(RENAME.format(name=name) + bomb, limits).status == "timeout"
    assert processes_named(name) == []


def test_memory_is_limited():
    program = f"x = bytearray({200 * MIB})"
    assert run_python(program, Limits(memory_bytes=400 * MIB)).passed
    assert run_python(program, Limits(memory_bytes=100 * MIB)).status == "memory"


def test_files_are_limited_one_by_one_and_together():
    """4 MiB in one file exceed 1 MiB; nor do 100 files of 1 MiB hold more than 1 MiB + slack."""
    limits = Limits(max_file_bytes=MIB)
    outcome = run_python(f"open('f', 'wb').write(bytes({4 * MIB}))", limits)
    assert outcome.reason.startswith("OSError: [Errno 27] File too large")
    program = f"""
n = 0
try:
    for i in range(100):
        with open(f"file{{i}}", "wb", buffering=0) as file:
            n += file.write(bytes({MIB}))
except OSError:
    raise RuntimeError(n)
"""
    reason = run_python(program, limits).reason
    assert 0.9 * MIB < int(reason.removeprefix("RuntimeError: ")) < 3 * MIB


def test_output_goes_nowhere(capfd):
    program = (
        f"import sys\nfor _ in range(1024): sys.stdout.write('x' * {MIB})\nsys.stderr.write('y')"
    )
    assert run_python(program).passed
    assert capfd.readouterr() == ("", "")


# --- isolation ----------------------------------------------------------------------------------


def test_nothing_outside_is_written_or_read(tmp_path):
    name = secrets.token_hex(8)
    folders = [
        ROOT,
        ROOT / "results",
        tmp_path,
        Path(tempfile.gettempdir()),
        Path.home(),
        "/dev/shm",
    ]
    paths = [str(Path(folder, name)) for folder in folders]
    program = f"""
for path in {paths!r} + ["../{name}", "{name}"]:
    try:
        open(path, "w").write("x")
    except OSError:
        pass
try:
    open({str(ROOT / "pyproject.toml")!r})
except FileNotFoundError:
    pass
else:
    raise RuntimeError("the project can be read")
import os
assert os.listdir() == ["{name}"]  # its own folder was empty and can be written to
"""
    assert run_python(program).passed
    assert not any(Path(path).exists() for path in [*paths, f"/{name}", name])
    assert "jail" not in Path("/proc/self/mountinfo").read_text()


def test_no_listening_socket_is_reached():
    name = f"\0{secrets.token_hex(8)}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind(name)
        local.listen()
        program = f"""
import socket
for kind, address in ((socket.AF_INET, {tcp.getsockname()!r}), (socket.AF_UNIX, {name!r})):
    try:
        socket.socket(kind).connect(address)
    except OSError:
        continue
    raise RuntimeError(address)
"""
        assert run_python(program).passed
        for server, kind in ((tcp, socket.AF_INET), (local, socket.AF_UNIX)):
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()
            with socket.socket(kind) as client:  # from outside it is reached
                client.connect(server.getsockname())
                server.accept()[0].close()


def test_no_privilege_is_left():
    """Not even in a new user namespace, where an ordinary process could mount and be root."""
    program = """
import ctypes, os
assert os.getuid() == os.geteuid() != 0
assert ctypes.CDLL(None).unshare(0x10000000) == -1
for attempt in (lambda: os.setuid(0), lambda: os.chroot("/tmp"), lambda: os.kill(1, 9)):
    try:
        attempt()
    except PermissionError:
        continue
    assert os.getppid() == 1  # where the signal was allowed, it had no effect on the init
"""
    outcome = run_python(program)
    assert outcome.passed, outcome.reason


def test_nothing_survives_the_program():
    """A grandchild in a separate session keeps sleeping until the program's end is reported."""
    name = f"g{secrets.token_hex(6)}"
    program = f"""
import os, time
read, write = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        {RENAME.format(name=name).strip()}
        os.write(write, b"x")
        time.sleep(600)
    os._exit(0)
assert os.read(read, 1) == b"x"
"""
    started = time.monotonic()
    assert run_python(program, Limits(max_processes=4, timeout_s=300)).passed
    assert time.monotonic() - started < 100
    assert processes_named(name) == []


def test_nothing_survives_the_caller():
    """After SIGKILL the caller cannot clean up anything; the kernel does."""
    name = f"k{secrets.token_hex(6)}"
    program = RENAME.format(name=name) + "import time; time.sleep(600)"
    call = f"from sft_tradeoff.sandbox.run import *; run_python({program!r}, Limits(timeout_s=500))"
    with subprocess.Popen([sys.executable, "-c", call]) as caller:
        wait_until(lambda: processes_named(name))
        caller.kill()
    wait_until(lambda: not processes_named(name))


def test_an_ordinary_user_needs_no_privilege():
    assert run_as_ordinary_user(execution._PROBE, Limits()).passed
    outcome = run_as_ordinary_user(COUNT_FORKS, Limits(max_processes=3))
    assert outcome.reason == "RuntimeError: 2"


# --- signals ------------------------------------------------------------------------------------

RUN = pytest.mark.parametrize("run", [run_python, run_as_ordinary_user])


@RUN
@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        ("os.kill(0, signal.SIGKILL)", ("killed", "SIGKILL")),
        ("os.killpg(0, signal.SIGTERM)", ("killed", "SIGTERM")),
        ("os.kill(0, signal.SIGHUP)", ("killed", "SIGHUP")),
        ("os.kill(0, signal.SIGSTOP)", ("timeout", "not done after 1.5 s")),
        ("os.kill(0, signal.SIGINT)", ("failed", "KeyboardInterrupt:")),
    ],
)
def test_a_signal_to_its_group_meets_the_program_alone(run, call, outcome):
    """The program of an ordinary user has the uid of the processes that supervise it."""
    limits = Limits(timeout_s=1.5 if outcome[0] == "timeout" else 60)  # a start can take seconds
    found = run(f"import os, signal\n{call}\nimport time; time.sleep(1)", limits)
    assert (found.status, found.reason) == outcome


@RUN
def test_no_signal_ends_the_init(run):
    """If they are allowed at all: for root the init belongs to another user."""
    program = """
import contextlib, os, signal
for number in signal.valid_signals():
    with contextlib.suppress(PermissionError):
        os.kill(1, number)
assert os.getppid() == 1
"""
    outcome = run(program, Limits())
    assert outcome.passed, outcome.reason


def test_signals_that_the_caller_ignores_reach_the_program():
    """As under nohup. With SIGCHLD ignored, the kernel would drop the program's exit status."""
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD)
    call = f"""
import signal
from sft_tradeoff.sandbox.run import run_python
for number in {tuple(map(int, ignored))}:
    signal.signal(number, signal.SIG_IGN)
for name in "SIGHUP", "SIGINT":
    print(run_python(f"import os, signal; os.kill(os.getpid(), signal.{{name}})").reason)
"""
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["SIGHUP", "KeyboardInterrupt:"], done.stderr


def test_a_signal_to_the_group_does_not_reach_the_caller():
    """``os.kill(0, …)`` and ``os.kill(-1, …)`` reach only the sandbox's own processes."""
    reached = []
    previous = signal.signal(signal.SIGTERM, lambda *_: reached.append(1))
    try:
        program = "import os, signal\nos.kill(-1, signal.SIGTERM)\nos.kill(0, signal.SIGTERM)"
        assert not run_python(program).passed
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert reached == []
