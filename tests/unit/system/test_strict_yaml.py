"""What YAML would drop or misread is refused, with file and line."""

import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.planning.own_template import read_template
from sft_tradeoff.report.published import published_measures
from sft_tradeoff.system.strict_yaml import parse_yaml, read_yaml
from sft_tradeoff.system.validation import ConfigError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' is given twice (first in line 1)"),
        ("t:\n  epochs: 2\n  epochs: 7\n", "line 3: key 'epochs' is given twice"),
        ("t: {piqa: 8, piqa: 9}\n", "line 1: key 'piqa' is given twice"),
        ("- [{x: 1, 'x': 2}]\n", "line 1: key 'x' is given twice"),
        ("1: a\n1: b\n", "line 2: key '1' is given twice"),
        ("seeds: [010]\n", "line 1: YAML reads 010 as octal or in base 60"),
        ("n_train: 1:30\n", "line 1: YAML reads 1:30 as octal or in base 60"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a: [", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        (
            "b: 1\na: 2026-02-30\n",
            "line 2: '2026-02-30' is not valid (day is out of range for month",
        ),
        ("b: 1\na: \x1b\n", "line 2: the text has the character '\\x1b'; remove it"),
        ("a: 1\n\tb: 2\n", "line 2: not valid YAML: while scanning for the next token found"),
        ("a: 1\n\tb: 2\n", "; indent with spaces"),
        ("a: !!bool maybe\n", "line 1: 'maybe' is not valid"),
        ("a: !!timestamp soon\n", "line 1: 'soon' is not valid"),
        ("a: !!float ''\n", "line 1: '' is not valid"),
        ("? [a]\n: b\n", "line 1: not valid YAML: while constructing a mapping found unhashable"),
        ("a: &a [*a]\n", "more than 100,000 values"),
        ("a: " + "9" * 5000, "line 1: a number of 5000 characters"),
        ("a: 0x" + "f" * 5000, "line 1: a number of 5002 characters"),
        ('a: "\\e[31m"\n', "line 1: the text has the character '\\x1b'; remove it"),
        ('"\\ud800": 1\n', "line 1: the text has the character '\\ud800'; remove it"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_surprises_are_refused_with_file_and_line(text, words):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ") and words in str(caught.value)


def test_anchors_that_multiply_are_refused_at_once():
    """40 lines stand for 4**40 values."""
    lines = ["a0: &a0 [1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 4)}]" for n in range(1, 41)]
    with pytest.raises(ConfigError, match=r"my\.yaml: more than 100,000 values, anchors counted"):
        parse_yaml("\n".join(lines), "my.yaml")


def test_what_is_no_file_of_settings_is_not_read(tmp_path):
    """A pipe would be waited for, and gigabytes of data parsed as YAML."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "data.yaml").write_bytes(b"- 1\n" * 300_000)
    with pytest.raises(ConfigError, match=r"pipe\.yaml: cannot be read: not a file"):
        read_yaml(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"data\.yaml: has 1,200,000 bytes, more than 1,000,000"):
        read_yaml(tmp_path / "data.yaml")


def test_merge_keys_and_anchors_work():
    """An explicit key replaces a merged one, which is what merging is for; also when used twice."""
    text = """
    base: &base {epochs: 1, seed: 0}
    more: &more {<<: *base, epochs: 2}
    both: {<<: [*more, *base], seed: 3}
    again: {<<: *more, epochs: 4}
    list: [*base, *base]
    """
    found = parse_yaml(text, "my.yaml")
    assert found == yaml.safe_load(text)
    assert found["again"] == {"epochs": 4, "seed": 0}
    assert found["both"] == {"epochs": 2, "seed": 3}


def test_numbers_as_they_are_written():
    text = "[1, -2, 1_000, 0, 0.5, 01.5, 1.0e-5, 0x10, '010', .inf, 1:30a, null, yes]"
    assert parse_yaml(text, "my.yaml") == yaml.safe_load(text)


texts = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), include_characters="\t\n"), max_size=8
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner),
    max_leaves=12,
)


@given(plain)
def test_what_is_written_is_read_as_by_yaml(content):
    text = yaml.safe_dump(content, allow_unicode=True)
    assert parse_yaml(text, "my.yaml") == yaml.safe_load(text)


def test_other_encodings_are_refused_with_their_line(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_bytes("a: 1\nb: größer\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"my\.yaml: line 2: not UTF-8 text \(byte 0xf6\); save"):
        read_yaml(path)
    path.write_bytes("b: größer\n".encode("utf-8-sig"))
    assert read_yaml(path) == {"b": "größer"}
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


def test_the_template_and_published_studies_are_read_strictly(tmp_path, monkeypatch):
    path = tmp_path / "study.yaml"
    path.write_text("tolerance: bits_per_byte=0.9\nsmallest_gain: {nll: 0.5}\n")
    assert published_measures(tmp_path, "tolerance") == "bits_per_byte=0.9"
    assert published_measures(tmp_path, "smallest_gain") == "nll=0.5"
    path.write_text("domains: [{n_test: 5, n_test: 50}]\n")
    with pytest.raises(ConfigError, match="'n_test' is given twice"):
        published_measures(tmp_path, "tolerance")
    monkeypatch.setattr("sft_tradeoff.planning.own_template.TEMPLATE", path)
    with pytest.raises(Exception, match="'n_test' is given twice"):
        read_template()
