"""The file of claims: the project's own is valid, and every mistake is named with its fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sft_tradeoff.analysis.claims.spec import read_claims
from sft_tradeoff.system.validation import ConfigError

GOOD: dict[str, Any] = {
    "id": "F7",
    "statement": "Too small a rate costs accuracy.",
    "source": "a paper",
    "quantity": "smallest_rate_cost",
    "options": {"ratio": 2},
    "margin": 0.03,
    "level": 0.05,
    "needs": "two rates",
    "paper": {"text": "about .1", "source": "a paper", "second_hand": True},
}


def read(tmp_path: Path, *claims: dict[str, Any]) -> Any:
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": list(claims)}))
    return read_claims(path)


def test_the_claims_of_the_project() -> None:
    ids = [claim.id for claim in read_claims()]
    families = {"F": 7, "T": 3, "V": 3, "R": 3, "N": 7}
    assert ids == [f"{family}{i + 1}" for family, n in families.items() for i in range(n)]


def test_a_claim_is_read(tmp_path: Path) -> None:
    (claim,) = read(tmp_path, GOOD)
    assert claim.parameters().model_dump() == {"method": "sft", "ratio": 2}
    assert str(claim.paper) == "about .1 (a paper, second-hand)"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"quantity": "smallest_rate_kost"},
            "claim F7: unknown.*did you mean 'smallest_rate_cost'",
        ),
        ({"margin": 0}, r"margin: 0 is not valid.*greater than 0"),
        ({"margin": -0.01}, r"margin: -0.01 is not valid.*greater than 0"),
        ({"margin": True}, r"margin: true is not a number"),
        ({"level": 1}, r"level: 1 is not valid.*less than 1"),
        ({"level": 0.0}, r"level: 0.0 is not valid.*greater than 0"),
        ({"options": {"ratio": 1}}, r"claim F7, options: ratio: 1 is not valid"),
        ({"options": {"ration": 2}}, r"claim F7, options: ration: unknown key.*'ratio'"),
        ({"id": "first"}, r"id: 'first' is not valid"),
        ({"markin": 1}, r"markin: unknown key; did you mean 'margin'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)claims.yaml.*{told}"):
        read(tmp_path, GOOD | change)


@pytest.mark.parametrize("key", ["margin", "level", "quantity", "statement", "needs"])
def test_missing_keys_are_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: missing; add it"):
        read(tmp_path, {name: value for name, value in GOOD.items() if name != key})


def test_an_id_may_appear_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="id 'F7' appears twice; give each claim its own"):
        read(tmp_path, GOOD, GOOD)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: not found; run the command in"):
        read_claims(tmp_path / "none.yaml")
