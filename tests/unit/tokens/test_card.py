"""The card of the tokens counts truncated responses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sft_tradeoff import cli
from sft_tradeoff.models.tokenized import TokenizedData


@pytest.mark.parametrize(
    ("max_length", "truncated"), [(30, "**1 of 2 (50.0%)**: their"), (31, "0 of 2")]
)
def test_the_stage_writes_tokens_and_card(
    random_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    max_length: int,
    truncated: str,
) -> None:
    """`<s>[USER] Hi? [/USER] ` has 20 tokens, and the responses 3 and 11 with their ends."""
    meta = {"metric": "exact_match"}
    lines = [
        {"id": r, "prompt": "Hi?", "response": r, "answer": r, "meta": meta}
        for r in ("yy", "y" * 10)
    ]
    data, out = tmp_path / "own/train.jsonl", tmp_path / "tokens/train.npz"
    data.parent.mkdir()
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["tokenize", "--model", str(random_model), "--domain", "own"]
    command += ["--data", str(data), "--max-length", str(max_length), "--out", str(out)]
    cli.main(command)
    card = out.with_suffix(".md").read_text()
    assert card.startswith("# Tokens: random-2layer, own, train\n\n- **Examples:** 2\n")
    assert f"- **Responses truncated at {max_length} tokens:** {truncated}" in card
    assert TokenizedData.load(out).truncated.tolist() == [False, max_length == 30]


def test_no_examples_have_a_card_too(tmp_path: Path) -> None:
    from sft_tradeoff.tokens.card import token_card

    assert "No examples." in token_card(TokenizedData.from_examples([]), "x", 10)
