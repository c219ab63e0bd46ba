"""The data card shows and counts all turns of a conversation."""

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.card import data_card
from sft_tradeoff.domains.registry import domain_spec, get_domain


def test_the_card_shows_the_earlier_turns_and_counts_them(tmp_path):
    history = ({"role": "user", "content": "I am Zed."}, {"role": "assistant", "content": "Hello!"})
    meta = {"metric": "exact_match"}
    talk = Example("a", "Who am I?", "Zed.", "Zed.", meta, system="Be brief.", history=history)
    plain = Example("b", "2+2?", "4", "4", meta)
    splits = {"train": [talk, plain], "validation": [], "test": [plain]}
    for split in splits:
        (tmp_path / f"{split}.jsonl").write_text("")
    spec = domain_spec(name="own", label="own", path="x.jsonl")
    card = data_card(get_domain("own"), spec, splits, tmp_path)
    shown = card.partition("## First training example\n\n")[2]
    texts = [line for line in shown.splitlines() if line and not line.startswith("```")]
    assert texts == [
        *("System turn:", "Be brief.", "Earlier turn 1 (user):", "I am Zed."),
        *("Earlier turn 2 (assistant):", "Hello!", "Prompt:", "Who am I?", "Response:", "Zed."),
    ]
    # (9 + 9 + 6 + 9 + 4) / 2 and (4 + 1) / 2 characters, rounded to even
    assert "| train | 2 | 18 | 2 |" in card
    assert "| test | 1 | 4 | 1 |" in card
