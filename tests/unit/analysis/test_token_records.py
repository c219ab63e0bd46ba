"""Files of tokens hold what was written, and are refused where they do not belong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.analysis.token_records import (
    SCHEMA,
    TEST_TOKENS,
    Facts,
    TokensMismatch,
    paired,
    read_test_tokens,
    read_training_tokens,
    token_batch,
    write_tokens,
)
from sft_tradeoff.system.files import DamagedFileError

N = 6
COLUMNS = {
    "example": ["x"] * 3 + ["y"] * 3,
    "place": np.arange(N) % 3,
    "token": np.arange(10, 10 + N),
    "text": list("abcdef"),
    "kind": ["digits", "content"] * 3,
}
FACTS = Facts("r", "m" * 64, {"d": "t" * 64}, "v" * 64)


def write(folder: Path, nll: float = 1.0, **changed: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    meta = {"base_model_sha256": "m" * 64, "test_sha256": {"d": "t" * 64}}
    (folder / "eval.json").write_text(json.dumps({"meta_info": meta}))
    numbers = {"nll": np.full(N, nll), "entropy": np.full(N, 2.0), "rank": np.arange(1, N + 1)}
    facts = FACTS._replace(run=folder.name)._replace(**changed)
    write_tokens(folder / TEST_TOKENS, [token_batch(COLUMNS, "d", **numbers)], facts)
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = read_test_tokens(write(tmp_path / "r"))
    assert found is not None and found.facts == FACTS
    assert list(found.frame) == SCHEMA.names
    assert found.frame["text"].tolist() == list("abcdef")
    assert found.frame["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found.frame["step"].isna().all()  # not measured there


def test_a_run_without_tokens(tmp_path: Path) -> None:
    folder = write(tmp_path / "r")
    (folder / TEST_TOKENS).unlink()
    assert read_test_tokens(folder) is None
    assert read_training_tokens(folder) is None
    assert read_test_tokens(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"run": "s"}, "run is s, .* has r"),
        ({"model_sha256": "o"}, "model_sha256 is o, .* has m"),
        ({"data_sha256": {"d": "o"}}, "data_sha256 of d is o, .* has t"),
        ({"data_sha256": {"e": "t" * 64}}, "data_sha256 of e is t+, .* has None"),
    ],
)
def test_other_runs_models_and_data_are_refused(
    tmp_path: Path, changed: dict[str, object], named: str
) -> None:
    folder = write(tmp_path / "r", **changed)
    with pytest.raises(TokensMismatch, match=rf"{named}.*; delete the file and run the same"):
        read_test_tokens(folder)


def test_damage_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "r")
    (folder / TEST_TOKENS).write_bytes(b"PAR1")
    with pytest.raises(DamagedFileError, match="not as it was written"):
        read_test_tokens(folder)
    (folder / f".{TEST_TOKENS}.sha256").unlink()
    with pytest.raises(DamagedFileError, match="damaged"):
        read_test_tokens(folder)
    pd.DataFrame({"nll": [1.0]}).to_parquet(folder / TEST_TOKENS)
    with pytest.raises(DamagedFileError, match="damaged"):
        read_test_tokens(folder)


def test_pairs_by_hand(tmp_path: Path) -> None:
    base, run = (read_test_tokens(write(tmp_path / n, x)) for n, x in (("b", 3.0), ("r", 1.0)))
    both = paired(base, run)
    assert both["nll"].tolist() == [1.0] * N and both["nll_before"].tolist() == [3.0] * N
    assert both["rank_before"].tolist() == both["rank"].tolist()


@pytest.mark.parametrize("name", ["vocabulary_sha256", "model_sha256", "data_sha256"])
def test_only_the_same_tokens_are_paired(tmp_path: Path, name: str) -> None:
    base, run = (read_test_tokens(write(tmp_path / n)) for n in ("b", "r"))
    other = {"d": "o"} if name == "data_sha256" else "o"
    changed = run._replace(facts=run.facts._replace(**{name: other}))
    with pytest.raises(TokensMismatch, match=rf"{name}.* is o, θ0 .*b.tokens.parquet.* has"):
        paired(base, changed)
    short = base._replace(frame=base.frame.iloc[1:])
    with pytest.raises(TokensMismatch, match="1 of 6 tokens are not in"):
        paired(short, run)
