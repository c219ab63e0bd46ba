"""The inside of the sandbox: a script that isolates itself and then starts the program.

:mod:`sft_tradeoff.sandbox.run` runs it in a fresh interpreter, because only a process with a single
thread can enter namespaces. It uses the standard library only, reads the request as JSON from stdin
and writes the outcome as JSON to stdout. There are three processes: this one, which watches the
time; the init of the PID namespace, at whose death the kernel kills every process inside; and the
program.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

# Constants from linux/sched.h, mount.h and prctl.h, which Python 3.11 does not have.
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 0x1, 0x2, 0x4
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
# keyctl has no function in the C library, and its number depends on the processor.
SYS_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
KEYCTL_JOIN_SESSION_KEYRING = 1

# Any folder that exists on every machine and is not needed in the sandbox.
MOUNT_POINT = "/proc"
JAIL = f"{MOUNT_POINT}/jail"
# What a Python interpreter needs besides its own folder; no user files.
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/nix/store")
LOADER_CACHE = "etc/ld.so.cache"
SLACK_BYTES = 1 << 20
N_FILES = 1000
# Not used by any account; adding the process id of this script makes it unique to a sandbox.
FIRST_UID = 2_000_000_000
INSIDE_ID = 1000
WORD_BYTES = 4096

# Not -I, which would ignore PYTHONHASHSEED too; the order of sets must be the same in every run.
# There are no other variables, and -P and -s are the rest of -I.
FLAGS = ("-s", "-S", "-P")
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
# The token is read after the program's last line, so that exiting early does not look like success.
RUNNER = """
import os, runpy
try:
    runpy.run_path("/program.py", run_name="__main__")
    word = os.read({challenge}, 64)
except BaseException as error:
    word = f"{{type(error).__name__}}: {{error}}".encode(errors="replace")[:200]
os.write({verdict}, word)
os._exit(0)
"""

_LIBC = ctypes.CDLL(None, use_errno=True)


class Pipe(NamedTuple):
    """The two ends of ``os.pipe``."""

    read: int
    write: int


def _call(name: str, *arguments: Any) -> None:
    """Call a C function that returns 0 on success."""
    if getattr(_LIBC, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    texts = [text.encode() for text in (source, target, kind, options)]
    _call("mount", *texts[:3], ctypes.c_ulong(flags), texts[3])


def _make_read_only(path: str) -> None:
    """Make a mount and everything mounted below it read-only (Linux 5.12)."""
    flags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    attributes = (ctypes.c_uint64 * 4)(flags, 0, 0, 0)
    long, size = ctypes.c_long, ctypes.c_size_t(ctypes.sizeof(attributes))
    _call(
        "syscall",
        long(SYS_MOUNT_SETATTR),
        long(AT_FDCWD),
        path.encode(),
        long(AT_RECURSIVE),
        attributes,
        size,
    )


def is_real_root() -> bool:
    """Whether this is root of the machine or a plain container, not of a user namespace."""
    identity = Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(2**32 - 1)]
    return os.geteuid() == 0 and identity


def enter_namespaces(real_root: bool) -> None:
    """Leave the network, the mounts, the processes and the IPC objects of the machine.

    An ordinary user needs a user namespace for this. Real root must not use one: for the kernel its
    processes would still belong to root, to whom ``RLIMIT_NPROC`` does not apply.
    """
    # If memory runs out, the kernel should kill the program rather than a training job.
    Path("/proc/self/oom_score_adj").write_text("1000")
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", flags if real_root else flags | CLONE_NEWUSER)
    if not real_root:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{INSIDE_ID} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{INSIDE_ID} {gid} 1")


def leave_keyrings() -> None:
    """Take a new, empty session keyring: the kernel's keyrings belong to no namespace.

    The caller's may hold keys of Kerberos, encrypted folders or network file systems.

    Raises:
        OSError: If the kernel has keys but does not give a keyring.
    """
    machine = os.uname().machine
    if machine not in SYS_KEYCTL:
        raise OSError(f"the number of keyctl is not known for {machine}")
    number = ctypes.c_long(SYS_KEYCTL[machine])
    if _LIBC.syscall(number, ctypes.c_long(KEYCTL_JOIN_SESSION_KEYRING), None) >= 0:
        return
    # No keys in this kernel, or a filter of system calls (containers), which the program inherits.
    if (reason := ctypes.get_errno()) not in (errno.ENOSYS, errno.EPERM):
        raise OSError(reason, f"keyctl: {os.strerror(reason)}")


def interpreter() -> str:
    """Path of the interpreter, outside any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def visible_folders() -> Iterator[str]:
    """Yield the folders of the machine that the program may read, none within another."""
    own = (sys.base_prefix, sys.base_exec_prefix, os.path.dirname(interpreter()))
    found: list[str] = []
    for path in (*SYSTEM, *sorted(map(os.path.realpath, own), key=len)):
        if os.path.isdir(path) and not any(path.startswith(f"{f}/") or path == f for f in found):
            found.append(path)
            yield path


def change_root(program: bytes, max_file_bytes: int, owner: int) -> None:
    """Replace the root by a file system in memory that shows Python's files and nothing else.

    It disappears with the last process inside. The new root is a folder of the mount, not its root:
    after such a chroot a process cannot create a user namespace, in which it would be root again.
    """
    os.umask(0o022)
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    cache = Path("/", LOADER_CACHE)
    libraries = cache.read_bytes() if cache.exists() else b""
    n_bytes = max_file_bytes + len(program) + len(libraries) + SLACK_BYTES
    options = f"size={n_bytes},nr_inodes={N_FILES},mode=755"
    folders = list(visible_folders())
    _mount("none", MOUNT_POINT, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for folder in folders:
        _show(folder)
    for path, content in ((LOADER_CACHE, libraries), ("program.py", program)):
        Path(JAIL, path).parent.mkdir(exist_ok=True)
        Path(JAIL, path).write_bytes(content)
    Path(JAIL, "tmp").mkdir(exist_ok=True)  # it exists already if the interpreter is below /tmp
    os.chown(f"{JAIL}/tmp", owner, -1)
    os.chdir(MOUNT_POINT)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", MNT_DETACH)
    os.chroot("/jail")
    os.chdir("/tmp")


def _show(folder: str) -> None:
    target = JAIL + folder
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(folder):
        os.symlink(os.readlink(folder), target)
        return
    os.mkdir(target)
    _mount(folder, target, "", MS_BIND | MS_REC)
    _make_read_only(target)


def set_limits(request: Mapping[str, Any], n_others: int) -> None:
    """Set the limits of this process and of those it starts.

    Args:
        request: The limits.
        n_others: Processes of the sandbox itself that count towards ``max_processes``.
    """
    limits = {
        resource.RLIMIT_CPU: request["cpu_s"],
        resource.RLIMIT_AS: request["memory_bytes"],
        resource.RLIMIT_FSIZE: request["max_file_bytes"],
        resource.RLIMIT_NPROC: request["max_processes"] + n_others,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        # A program can catch the signal at the soft limit, but not the kill a second later.
        resource.setrlimit(kind, (limit, limit + (kind == resource.RLIMIT_CPU and limit != hard)))


def become_program(
    request: Mapping[str, Any], uid: int | None, null: int, challenge: int, verdict: int
) -> NoReturn:
    """Drop all privileges and run the program; those in a user namespace end with the exec."""
    # A separate process group: the program of an ordinary user has the uid of this script and could
    # signal it.
    os.setsid()
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for descriptor in (challenge, verdict):
        os.set_inheritable(descriptor, True)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    set_limits(request, n_others=0 if uid is not None else 2)
    runner = RUNNER.format(challenge=challenge, verdict=verdict)
    os.execve(interpreter(), [interpreter(), *FLAGS, "-c", runner], ENVIRONMENT)


def run_init(
    request: Mapping[str, Any], uid: int | None, null: int, pipes: tuple[Pipe, Pipe, Pipe]
) -> NoReturn:
    """First process of the PID namespace: start the program and report how it ended."""
    challenge, verdict, status = pipes
    try:
        _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        program = os.fork()
        if not program:
            become_program(request, uid, null, challenge.read, verdict.write)
        report = str(os.waitpid(program, 0)[1])
    except BaseException as error:
        report = f"{type(error).__name__}: {error}"
    os.write(status.write, report.encode())
    os._exit(0)


def reset_signals() -> None:
    """Reset all signals to their defaults, for this process and those it starts.

    From inside, an init receives only signals that it handles, as Python does SIGINT. Signals that
    the caller ignores must not change an outcome, and ignoring SIGCHLD would lose exit statuses.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)


def supervise(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run the program, and return when all its processes are gone.

    Returns:
        ``passed``; ``word``, what the runner wrote; ``status``, the program's wait status or what
        prevented its start, empty after a timeout.

    Raises:
        OSError: If the sandbox cannot be set up; the program was not started.
    """
    real_root = is_real_root()
    uid = FIRST_UID + os.getpid() if real_root else None
    null = os.open(os.devnull, os.O_RDWR)
    enter_namespaces(real_root)
    leave_keyrings()
    source = request["program"].encode(errors="replace")
    change_root(source, request["max_file_bytes"], -1 if uid is None else uid)
    challenge, verdict, status = (Pipe(*os.pipe()) for _ in range(3))
    token = os.urandom(16).hex()
    os.write(challenge.write, token.encode())
    os.close(challenge.write)
    init = os.fork()
    if not init:
        run_init(request, uid, null, (challenge, verdict, status))
    os.close(verdict.write)
    os.close(status.write)
    select.select([status.read], [], [], request["timeout_s"])
    os.kill(init, signal.SIGKILL)
    os.waitpid(init, 0)  # returns only when the whole namespace is dead
    word = os.read(verdict.read, WORD_BYTES).decode(errors="replace")
    report = os.read(status.read, WORD_BYTES).decode(errors="replace")
    return {"passed": word == token and report == "0", "word": word, "status": report}


def main() -> None:
    """Serve one request."""
    request = json.load(sys.stdin)
    reset_signals()
    try:
        _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        report = supervise(request)
    except OSError as error:
        report = {"refused": str(error)}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
