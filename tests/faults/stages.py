"""One stage of the workflow in its own process that can be killed, without its slow start.

A server that has imported everything forks for every stage, so that nearly all of a stage's time,
and of the moments at which it is killed, is work and not imports.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from sft_tradeoff import cli

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = [
    "sft_tradeoff.training.train",
    "sft_tradeoff.evaluation.evaluate",
    "sft_tradeoff.evaluation.lm",
    "sft_tradeoff.analysis.aggregate",
    "sft_tradeoff.training.merge",
    "transformers.models.llama.modeling_llama",
]
TIMEOUT_S = 120


class Done(NamedTuple):
    """How a stage ended, and its output."""

    code: int
    text: str


def start_server(environment: Mapping[str, str]) -> ForkServerContext:
    """Start the server; all stages get this environment."""
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *PRELOADED])
    with mock.patch.dict(os.environ, environment):
        forkserver.ensure_running()
    return context


class Stage:
    """A running ``sft-tradeoff <name> <arguments>``.

    Args:
        context: See :func:`start_server`.
        name: Of the stage.
        arguments: Of the command line.
        log: Gets what the stage says.
    """

    def __init__(
        self, context: ForkServerContext, name: str, arguments: Sequence[object], log: Path
    ) -> None:
        self.log = log
        log.unlink(missing_ok=True)
        texts = [str(argument) for argument in arguments]
        self.process: BaseProcess = context.Process(target=_main, args=(name, texts, log))
        self.process.start()

    def wait(self) -> Done:
        """Let it end."""
        self.process.join(TIMEOUT_S)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"no end after {TIMEOUT_S} s: {self.log.read_text()}")
        return Done(self.process.exitcode, self.log.read_text() if self.log.exists() else "")

    def kill(self) -> bool:
        """Kill -9; return whether it was still running."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode == -9


def _main(name: str, arguments: list[str], log: Path) -> None:
    os.chdir(ROOT)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    cli.main([name, *arguments])


class Moment(NamedTuple):
    """When to kill: at a time, or soon after something appears in a folder.

    Args:
        after_s: Seconds from the start or from the appearance.
        sight: Glob pattern of what must appear (or be replaced); None: no waiting for it.
    """

    after_s: float
    sight: str | None = None

    def wait(self, folder: Path, stage: Stage) -> None:
        """Return at this moment, or when the stage has ended."""
        if self.sight is not None:
            before = _inodes(folder, self.sight)
            while stage.process.is_alive() and not _inodes(folder, self.sight) - before:
                time.sleep(0.0005)
        stage.process.join(self.after_s)


def _inodes(folder: Path, pattern: str) -> set[tuple[str, int]]:
    found = set()
    for path in folder.glob(pattern):
        try:
            found.add((str(path), path.stat().st_ino))
        except FileNotFoundError:
            continue
    return found
