"""The data card shows texts of the data as they are and lets none of them be markup."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from sft_tradeoff.assets.fetch import fetch_asset
from sft_tradeoff.assets.spec import LocalAsset
from sft_tradeoff.domains.base import SPLITS, Example
from sft_tradeoff.domains.card import data_card
from sft_tradeoff.domains.registry import domain_spec, get_domain

TEXTS = [
    "```\n# Title\n````\n<script>alert(1)</script>",
    "~~~\n# Title\n~~~~",
    "````````\n## Title",
    "`one` ``two`` <b>bold</b> [link](https://example.org) ![image](x.png)",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "$x$ $$y$$ \\(z\\) \\",
    "    indented\n\n- item\n\n***",
    "ends with a mark `",
]
MARKUP = {"html_block", "html_inline", "link_open", "image", "em_open", "s_open", "hr"}


def card(folder: Path, text: str, answer: str = "4", records: Sequence[Path] = ()) -> str:
    """The card of the domain ``own`` where every text of every example is ``text``."""
    meta = {"metric": "exact_match", "tolerance": 0.0, "labels": []}
    examples = [Example("own-0", text, text, answer, meta, system=text)]
    for split in SPLITS:
        (folder / f"{split}.jsonl").touch()
    spec = domain_spec(name="own", path="d.jsonl")
    return data_card(get_domain("own"), spec, dict.fromkeys(SPLITS, examples), folder, records)


def rendered(markdown: str) -> list[Token]:
    """All tokens of the card, as GitHub reads it."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    return [part for token in tokens for part in (token, *(token.children or []))]


def content(tokens: Sequence[Token]) -> str:
    return "".join(token.content for token in tokens)


def assert_nothing_added(tokens: Sequence[Token]) -> None:
    """The two headings are the card's own."""
    assert [t.markup for t in tokens if t.type == "heading_open"] == ["#", "##"]
    assert not {t.type for t in tokens} & MARKUP


@pytest.mark.parametrize("text", TEXTS)
def test_the_first_example_is_shown_to_the_letter(tmp_path: Path, text: str) -> None:
    tokens = rendered(card(tmp_path, text))
    assert [t.content for t in tokens if t.type == "fence"] == [f"{text}\n"] * 3
    assert_nothing_added(tokens)


def test_control_characters_of_an_example_are_escaped(tmp_path: Path) -> None:
    assert "\nred \\x1b[31m\\r\n\ttab é\n" in card(tmp_path, "red \x1b[31m\r\n\ttab é")


@pytest.mark.parametrize("answer", ["<b>*x*</b>", "[a](b)", "`", "~~x~~ **y**", "| $ & ! #"])
def test_an_answer_is_no_markup_in_a_remark(tmp_path: Path, answer: str) -> None:
    tokens = rendered(card(tmp_path, "question", answer))
    shown = [content(t.children or []) for t in tokens if t.type == "inline"]
    assert any(f"All 1 test answers are {answer!r}: a model" in text for text in shown)
    assert_nothing_added(tokens)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<img src=x>.jsonl", "<img src=x>.jsonl"),
        ("a|b*c*~~d~~.jsonl", "a|b*c*~~d~~.jsonl"),
        ("`[x](y)\n# z\x1b", r"`[x](y) # z\x1b"),
    ],
)
def test_a_file_name_is_no_markup(tmp_path: Path, name: str, shown: str) -> None:
    file, record = tmp_path / name, tmp_path / "cache" / "SOURCE.json"
    file.write_text("{}")
    fetch_asset("mine", LocalAsset(source="local", path=str(file)), record)
    tokens = rendered(card(tmp_path, "question", records=[record]))
    texts = [content(t.children or []) for t in tokens if t.type == "inline"]
    assert any(f"local: {shown} (sha256 " in text for text in texts)
    assert_nothing_added(tokens)
