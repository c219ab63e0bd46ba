"""Reading JSON Lines with file and line in the errors."""

import pytest

from sft_tradeoff.system.records import RecordError, parse_lines, read_jsonl


def test_lines_are_numbered_from_one(tmp_path):
    assert list(parse_lines(['{"a": 1}\n', b"[2]"], tmp_path, "mend it")) == [
        (1, {"a": 1}),
        (2, [2]),
    ]


@pytest.mark.parametrize("line", ["{", "", b"\xff"])
def test_a_line_that_is_not_json_is_named_with_the_fix(tmp_path, line):
    found = parse_lines(["1", line], tmp_path / "x", "mend it")
    assert next(found) == (1, 1)
    with pytest.raises(RecordError, match=rf"{tmp_path}/x, line 2: not JSON \(.*\); mend it$"):
        next(found)


def test_a_file_of_objects(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": "é"}\n{}\n3\n')
    rows = read_jsonl(path)
    assert [next(rows), next(rows)] == [{"a": "é"}, {}]
    with pytest.raises(RecordError, match=rf"{path}, line 3: not an object; delete"):
        next(rows)
