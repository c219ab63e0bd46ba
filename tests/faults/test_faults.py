"""Every fault at a small scale: then the undisturbed result bit for bit, or a clear error.

``make test-faults`` provokes the same faults, and those of whole studies, many times.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.faults.__main__ import FAULTS
from tests.faults.disk import NoMounts
from tests.faults.laboratory import Laboratory

SEED = int(os.environ.get("FAULT_SEED", "0"))  # of the random moments and places


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return Laboratory(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.n_small])
def test_fault(lab: Laboratory, name: str) -> None:
    print(f"FAULT_SEED={SEED}")  # seen when it fails
    fault = FAULTS[name]
    try:
        outcomes = list(fault.provoke(lab, random.Random(f"{SEED} {name}"), fault.n_small))
    except NoMounts as reason:
        pytest.skip(str(reason))
    assert len(outcomes) == fault.n_small
    assert not [outcome.note for outcome in outcomes if outcome.kind == "failed"]
