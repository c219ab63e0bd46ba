"""A sample of the odd inputs: each works or is refused clearly. All of them: ``make test-odd``."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.odd_inputs.__main__ import GENERATORS, prepare, try_all
from tests.odd_inputs.outcome import Outcome, cause, refusal, verdict
from tests.odd_inputs.workers import judge_all

ACCEPTED = Outcome("accepted")


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch
) -> Path:
    path = tmp_path_factory.mktemp("odd")
    monkeypatch_module.setenv("SFT_TRADEOFF_CACHE", str(path / "cache"))
    prepare(path / "cache")
    return path


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("name", GENERATORS)
def test_odd_inputs(name: str, folder: Path) -> None:
    generator = GENERATORS[name]
    numbers = sorted(random.Random(0).sample(range(generator.n_large), generator.n_small))
    found = try_all(name, folder / name, 0, numbers)
    faults = [f"{fault['inputs'][:5]}\n{fault['note']}" for fault in found["by_cause"]]
    assert not faults, "\n\n".join(faults)
    assert found["accepted"] + found["refused"] == generator.n_small
    assert found["accepted"] and found["refused"]
    assert found["trained"] == (found["accepted"] if generator.learn else 0)


def _judge(what: str) -> Outcome:
    if what == "hang":
        time.sleep(60)
    if what == "die":
        os._exit(3)
    if what == "fill":
        _ = b"x" * 12 * 10**8
        time.sleep(60)
    if what == "raise":
        raise KeyError("a defect")
    return ACCEPTED


def test_what_cannot_be_caught_is_a_fault() -> None:
    """The inputs after it in the same process are judged all the same."""
    inputs = ["hang", "good", "die", "good", "fill", "raise", "good"]
    outcomes = judge_all(inputs, _judge, limit_s=2, batch=len(inputs))
    kinds = ["no answer", "", "the process died (3)", "", "more than", "Traceback", ""]
    assert [bool(outcome.note) for outcome in outcomes] == [bool(kind) for kind in kinds]
    assert all(o.note.startswith(kind) for o, kind in zip(outcomes, kinds, strict=True))
    assert cause(outcomes[5].note) == "KeyError: …"


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ("path: is bad; remove line 3", ""),
        ("path: is bad", "without a fix"),
        ("metric: is bad; change it", "does not name path:"),
        ("path: \x1b[31mred; remove it", "raw U+001B"),
        ("path: remove it" + "." * 3000, "message of 3015 characters"),
    ],
)
def test_a_message_is_judged(message: str, what: str) -> None:
    outcome = refusal(message, ["path:"], None)
    assert (what in outcome.note) if what else outcome.kind == "refused"
    assert (outcome.kind == "fault") == bool(what)


def test_the_wrong_outcome_is_a_fault() -> None:
    assert verdict(ACCEPTED, "refused").kind == "fault"
    assert refusal("path: remove it", ["path:"], "accepted").note.startswith("refused wrongly")
    assert verdict(ACCEPTED, None) == ACCEPTED
