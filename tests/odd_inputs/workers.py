"""Judge inputs in processes that can be killed: a hang or a full memory is an outcome too."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import psutil

from tests.odd_inputs.outcome import Outcome, fault

MAX_RSS = 10**9  # bytes
START_S = 120  # for the imports that all processes share
PAUSE_S = 0.005
READY = "ready"
PRELOADED = [
    *("torch", "datasets", "pandas", "pyarrow.parquet", "lm_eval.api.model", "accelerate"),
    *("transformers.models.llama.modeling_llama", "sft_tradeoff.evaluation.evaluate"),
    *("sft_tradeoff.planning.own", "sft_tradeoff.training.train", "tests.odd_inputs.__main__"),
]
Judge = Callable[[Any], Outcome]


class _Worker:
    """A process that judges some inputs one after the other.

    Args:
        judge: Called there.
        inputs: Place -> input.
        limit_s: Time for one input.
    """

    def __init__(self, judge: Judge, inputs: dict[int, Any], limit_s: float) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.places, self.inputs, self.limit_s = deque(inputs), inputs, limit_s
        self.pipe, there = context.Pipe(duplex=False)
        arguments = (judge, list(inputs.values()), there, dict(os.environ))
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        there.close()
        self.deadline, self.ended = _deadline(START_S), False

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Place and outcome of what has ended since the last call."""
        while self.places and not self.ended:
            if self.pipe.poll():
                try:
                    outcome = self.pipe.recv()
                except EOFError:
                    self.process.join()
                    outcome = fault(f"the process died ({self.process.exitcode})")
                    self.ended = True
            elif reason := self._reason_to_end():
                self.process.kill()
                outcome = fault(reason)
                self.ended = True
            else:
                return
            if outcome != READY:
                yield self.places.popleft(), outcome
            self.deadline = _deadline(self.limit_s)

    def _reason_to_end(self) -> str | None:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(self.process.pid).memory_info().rss > MAX_RSS:
                return f"more than {MAX_RSS // 10**6} MB of memory"
        if time.monotonic() > self.deadline:
            return f"no answer within {self.limit_s:g} s"
        return None

    def left(self) -> dict[int, Any]:
        """Inputs without an outcome, once the process has ended."""
        self.process.join()
        self.pipe.close()
        return {place: self.inputs[place] for place in self.places}


def _deadline(limit_s: float) -> float:
    """When a time is up; a busy machine is slower."""
    return time.monotonic() + limit_s * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def judge_all(
    inputs: Sequence[Any], judge: Judge, limit_s: float, batch: int = 1, n_workers: int = 2
) -> list[Outcome]:
    """Judge all inputs.

    Args:
        inputs: Can be pickled.
        judge: Called in another process; an exception is a fault.
        limit_s: Time for one input.
        batch: Inputs per process.
        n_workers: Processes at once.

    Returns:
        One outcome per input.
    """
    numbered = list(enumerate(inputs))
    waiting = deque(dict(numbered[i : i + batch]) for i in range(0, len(inputs), batch))
    found: dict[int, Outcome] = {}
    running: list[_Worker] = []
    while waiting or running:
        while waiting and len(running) < n_workers:
            running.append(_Worker(judge, waiting.popleft(), limit_s))
        for worker in list(running):
            found |= dict(worker.outcomes())
            if worker.ended or not worker.places:
                running.remove(worker)
                if left := worker.left():
                    waiting.appendleft(left)
        time.sleep(PAUSE_S)
    return [found[place] for place in range(len(inputs))]


def _serve(
    judge: Judge, inputs: Sequence[Any], pipe: Connection, environment: Mapping[str, str]
) -> None:
    """Judge inputs in the process that was started; what libraries print is dropped."""
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    pipe.send(READY)
    for one in inputs:
        try:
            outcome = judge(one)
        except BaseException:
            outcome = fault(traceback.format_exc()[-4000:])
        pipe.send(outcome)
