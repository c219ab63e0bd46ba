"""Names that a study may give."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError
from snakemake.io import PeriodicityDetector

from sft_tradeoff.system.strict import Name

NAMES: TypeAdapter[str] = TypeAdapter(Name)


@pytest.mark.parametrize(
    "name",
    [
        "a" * 19,
        "a" * 20,
        "x" + "a" * 20,
        "a" * 20 + "x",
        "ab" * 19,
        "ab" * 20,
        "abc-" * 20,
        "0" * 64,
    ],
)
def test_names_that_snakemake_refuses_are_refused(name: str) -> None:
    """It would end in a PeriodicWildcardError after the first jobs are planned."""
    if PeriodicityDetector().is_periodic(name) is None:
        assert NAMES.validate_python(name) == name
        return
    with pytest.raises(ValidationError, match=r"in many repetitions of '.*', which Snakemake does"):
        NAMES.validate_python(name)


def test_some_of_these_names_are_accepted_by_snakemake() -> None:
    detector = PeriodicityDetector()
    assert detector.is_periodic("a" * 19) is None and detector.is_periodic("a" * 20) == "a"
