"""The one schema of benchmark items: every defect is named with file, line, id and fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sft_tradeoff.suite.base import Benchmark
from sft_tradeoff.suite.build import build_benchmark
from sft_tradeoff.suite.build import check_items as check
from sft_tradeoff.suite.items import COLUMNS, BenchmarkError, find_defect
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.suite.task_file import task_file

CHOICE = {"id": "p1", "question": "Where?", "choices": ["bank", "mall"], "gold": 1}
TEXT = {"id": "t1", "text": "Once."}
PROBLEM = {"id": "a1", "question": "How many?", "answer": "9 apples"}


def write(path: Path, *lines: Any) -> Path:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("piqa", CHOICE),
        ("boolq", CHOICE | {"passage": "A mall."}),
        ("asdiv", PROBLEM),
        ("code_length_news", TEXT),
    ],
)
def test_sound_items_are_returned_in_order(tmp_path: Path, name: str, item: Any) -> None:
    items = [item, item | {"id": "z"}, item | {"id": "b"}]
    assert check(name, write(tmp_path / "items.jsonl", *items)).items == items


@pytest.mark.parametrize(
    ("name", "item", "defect"),
    [
        ("piqa", CHOICE | {"question": " "}, "'question' is empty"),
        ("piqa", CHOICE | {"question": None}, "'question' is None, not str"),
        ("piqa", CHOICE | {"choices": "ab"}, "'choices' is 'ab', not list"),
        ("piqa", CHOICE | {"choices": ["bank"], "gold": 0}, "'choices' has 1, at least 2"),
        ("piqa", CHOICE | {"choices": []}, "'choices' is empty"),
        ("piqa", CHOICE | {"choices": ["bank", ""]}, "is empty or not text"),
        ("piqa", CHOICE | {"choices": ["bank", 2]}, "is empty or not text"),
        ("piqa", CHOICE | {"choices": ["mall", "mall"]}, "'mall' is given twice"),
        ("piqa", CHOICE | {"gold": 2}, "'gold' is 2, outside the 2 choices"),
        ("piqa", CHOICE | {"gold": -1}, "'gold' is -1, outside the 2 choices"),
        ("piqa", CHOICE | {"gold": "1"}, "'gold' is '1', not int"),
        ("piqa", CHOICE | {"gold": True}, "'gold' is True, not int"),
        ("piqa", CHOICE | {"gold": 1.0}, "'gold' is 1.0, not int"),
        ("piqa", TEXT, "column 'question' is missing"),
        ("boolq", CHOICE, "column 'passage' is missing"),
        ("boolq", CHOICE | {"passage": ""}, "'passage' is empty"),
        ("asdiv", {"id": "a1", "question": "How many?"}, "column 'answer' is missing"),
        ("asdiv", PROBLEM | {"answer": None}, "'answer' is empty"),
        ("code_length_news", TEXT | {"text": "\n"}, "'text' is empty"),
        ("code_length_news", {"text": "Once."}, "column 'id' is missing"),
        ("code_length_news", TEXT | {"id": 7}, "'id' is 7, not str"),
        ("code_length_news", ["Once."], "is not an object"),
        ("code_length_news", '{"id": "t1", "te', "not JSON"),
        ("code_length_news", "", "not JSON"),  # an empty line, as in a truncated file
    ],
)
def test_a_defect_names_benchmark_file_line_and_fix(
    tmp_path: Path, name: str, item: Any, defect: str
) -> None:
    good = {"multiple_choice": CHOICE | {"passage": "A."}, "text": TEXT, "generation": PROBLEM}
    path = write(tmp_path / "i.jsonl", good[BENCHMARKS[name].kind] | {"id": "first"}, item)
    with pytest.raises(BenchmarkError) as caught:
        check(name, path)
    message = str(caught.value)
    assert message.startswith(f"{name}: {path}, line 2") and defect in message
    assert message.endswith(f"; delete {path} and run the same command again, which rebuilds it")
    if isinstance(item, dict) and "id" in item:
        assert f"(id {item['id']!r})" in message


def test_a_second_item_of_one_id_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "i.jsonl", TEXT, TEXT | {"id": "t2"}, TEXT | {"text": "Twice."})
    with pytest.raises(
        BenchmarkError, match=r"line 3 \(id 't1'\): the id is also that of .*line 1; "
    ):
        check("code_length_news", path)


def test_a_missing_or_empty_or_binary_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "piqa.jsonl"
    with pytest.raises(BenchmarkError, match=r"piqa: file not found: .*piqa\.jsonl; run the study"):
        check("piqa", path)
    path.write_text("")
    with pytest.raises(BenchmarkError, match="piqa: there are no items; delete"):
        check("piqa", path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(BenchmarkError, match=r"piqa: .*piqa\.jsonl cannot be read"):
        check("piqa", path)


def test_line_separators_within_a_text_end_no_line(tmp_path: Path) -> None:
    item = TEXT | {"text": "one\u2028two\x85three"}
    path = tmp_path / "i.jsonl"
    path.write_text(json.dumps(item, ensure_ascii=False) + "\n", encoding="utf-8")
    assert check("code_length_news", path).items == [item]


def test_a_builder_cannot_write_what_the_evaluation_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Benchmark(
        name="broken",
        asset="some-asset",
        build=lambda _: [CHOICE, CHOICE],
        kind="multiple_choice",
        task=task_file("_multiple_choice_yaml"),
        n_items=2,
    )
    monkeypatch.setitem(BENCHMARKS, "broken", broken)
    with pytest.raises(BenchmarkError, match=r"broken: item 2 of .*'p1'.*fetch 'some-asset' again"):
        build_benchmark("broken", tmp_path, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_every_benchmark_is_of_a_known_kind() -> None:
    assert {b.kind for b in BENCHMARKS.values()} <= set(COLUMNS)
    assert find_defect(TEXT, "text", ("title",)) == "column 'title' is missing"
