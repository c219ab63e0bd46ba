"""Where a built model lies in the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from sft_tradeoff.models import spec


def test_a_recipe_never_finds_what_another_one_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone has no record of jobs, so Snakemake would take whatever is there."""
    found = set()
    for version in (2, 3):
        monkeypatch.setattr(spec, "MODEL_RECIPE_VERSION", version)
        found.add(spec.built_model(Path("cache"), "mine"))
    assert len(found) == 2 and all(path.name == "mine" for path in found)
