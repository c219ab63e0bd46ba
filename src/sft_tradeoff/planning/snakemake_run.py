"""Run Snakemake or a script as a child process: its environment, signals and exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from sft_tradeoff.system.console import UserError

Handler = Callable[[int, FrameType | None], None]
MEMORY_SHARE = 0.9  # of the machine, for jobs side by side


def machine_memory_mb() -> int:
    """Return the memory that jobs may use together [MB]."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(total * MEMORY_SHARE) // 2**20


def require_project_folder() -> None:
    """Refuse to work outside the project's folder, where study files and rules are found.

    Raises:
        UserError: Naming the folder.
    """
    if not Path("Snakefile").is_file():
        raise UserError(f"{Path.cwd()} has no Snakefile; run the command in the project's folder")


def snakemake_command(study_file: Path, cores: str, settings: Mapping[str, str]) -> list[str]:
    """Return Snakemake's command line for a study, without a target.

    Args:
        study_file: The configuration.
        cores: A number, or ``all``.
        settings: Keys of the study that override the file; empty values do not.
    """
    asked = [f"{key}={value}" for key, value in settings.items() if value.strip()]
    return [
        *(sys.executable, "-m", "snakemake"),
        *(["--config", *asked] if asked else []),
        *("--resources", f"mem_mb={machine_memory_mb()}"),
        *("--configfile", str(study_file)),
        *("--cores", cores),
    ]


def run(command: Sequence[str], keep_open: Sequence[int] = ()) -> int:
    """Run a command and wait until it has ended.

    The command gets a session of its own. Ctrl-C, SIGTERM or a lost terminal interrupts all of its
    processes, even if only this one was told: Snakemake would wait for its jobs, which may take
    hours. Ctrl-Z stops them all.

    Args:
        command: Program and arguments.
        keep_open: File descriptors that it inherits.

    Returns:
        Its exit code; 128 + the signal's number if it was interrupted.
    """
    scripts = Path(sys.executable).parent  # rules call the console command by its name
    environment = dict(os.environ, PATH=f"{scripts}{os.pathsep}{os.environ['PATH']}")
    environment.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    process: subprocess.Popen[bytes] | None = None
    received = 0

    def tell(number: int) -> None:
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = number
        tell(signal.SIGINT)

    def pause(number: int, frame: FrameType | None) -> None:
        tell(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        tell(signal.SIGCONT)

    sys.stdout.flush()
    with _handlers(interrupt, pause):
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=keep_open,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        if received:
            tell(signal.SIGINT)
        code = process.wait()
    return 128 + received if received else code


@contextlib.contextmanager
def _handlers(interrupt: Handler, pause: Handler) -> Iterator[None]:
    """Handle signals, and restore what was there before.

    Handlers, because a signal that is ignored would be ignored by a child as well. ``nohup``
    ignores SIGHUP on purpose.
    """
    chosen = {signal.SIGINT: interrupt, signal.SIGTERM: interrupt, signal.SIGTSTP: pause}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        chosen[signal.SIGHUP] = interrupt
    before = {number: signal.signal(number, handler) for number, handler in chosen.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
