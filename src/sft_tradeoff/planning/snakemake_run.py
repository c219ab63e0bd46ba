"""Run Snakemake or a script as a child process: its environment, Ctrl-C and exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from sft_tradeoff.system.console import UserError

INTERRUPTED = 128 + signal.SIGINT
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

    Ctrl-C reaches the command too, which then ends its jobs; SIGTERM is passed on to it.

    Args:
        command: Program and arguments.
        keep_open: File descriptors that it inherits.

    Returns:
        Its exit code; 130 after Ctrl-C.
    """
    scripts = Path(sys.executable).parent  # rules call the console command by its name
    environment = dict(os.environ, PATH=f"{scripts}{os.pathsep}{os.environ['PATH']}")
    environment.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    process: subprocess.Popen[bytes] | None = None
    is_interrupted = False

    def leave_to_child(signal_number: int, frame: FrameType | None) -> None:
        nonlocal is_interrupted
        is_interrupted |= signal_number == signal.SIGINT
        if process is not None and signal_number == signal.SIGTERM:
            process.terminate()

    # Handlers, because a signal that is ignored would be ignored by the child as well.
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, leave_to_child) for number in numbers]
    sys.stdout.flush()
    try:
        process = subprocess.Popen(command, env=environment, pass_fds=keep_open)
        code = process.wait()
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    return INTERRUPTED if is_interrupted else code
