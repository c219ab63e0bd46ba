"""The card of the tokens and the recommendation page count truncated responses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.truncation import Cut, paragraph, read_cuts, record
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
    command = ["tokenize", "--model", str(random_model), "--domain", "jsonl"]
    command += ["--data", str(data), "--max-length", str(max_length), "--out", str(out)]
    cli.main(command)
    card = out.with_suffix(".md").read_text()
    assert card.startswith("# Tokens: random-2layer, own, train\n\n- **Examples:** 2\n")
    assert f"- **Responses truncated at {max_length} tokens:** {truncated}" in card
    assert TokenizedData.load(out).truncated.tolist() == [False, max_length == 30]


def test_no_examples_have_a_card_too(tmp_path: Path) -> None:
    from sft_tradeoff.tokens.card import token_card

    assert "No examples." in token_card(TokenizedData.from_examples([]), "x", 10)


def test_the_page_names_what_was_cut(tmp_path: Path) -> None:
    """Two runs of one domain count the same; a domain without truncated responses is not named."""
    runs = pd.DataFrame(
        {"model": "m", "run": ["base", "a", "b", "c"], "domain": ["", "own", "own", "whole"]}
    )
    tasks = {f"domain_{name}": {"n_items": 20} for name in ("own", "whole")}
    for run, domain, n_cut in (("base", "own", 5), ("a", "own", 5), ("b", "own", 5), ("c", "w", 0)):
        folder = tmp_path / run
        folder.mkdir()
        info = {"tasks": tasks, "n_truncated": {"own": 5, "whole": 0}}
        (folder / "eval.json").write_text(json.dumps({"eval_info": info}))
        if domain and run != "base":
            training = {"n_truncated": 2 * n_cut, "n_examples": 80}
            (folder / "train.json").write_text(json.dumps({"train_info": training}))
    cuts = read_cuts(runs, tmp_path)
    assert cuts == [Cut("m", "own", "test", 5, 20), Cut("m", "own", "train", 10, 80)]
    text = paragraph(cuts)
    assert "- m, own: 5 of 20 (25%) test responses do not fit into `training.max_length`" in text
    assert "- m, own: 10 of 80 (12%) train responses" in text
    assert record(cuts)["truncated"][0]["n_truncated"] == 5


def test_studies_without_the_count_say_nothing(tmp_path: Path) -> None:
    """Such as the published ones."""
    runs = pd.read_csv("results/published/quick/run_table.csv")
    cuts = read_cuts(runs, Path("results/published/quick/runs"))
    assert (cuts, paragraph(cuts), record(cuts)) == ([], "", {})
