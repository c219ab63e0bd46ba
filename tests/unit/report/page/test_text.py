"""Markdown and JSON of the page: text of data stays text."""

import json
import math

import pytest

from sft_tradeoff.report.page.text import inline_html, script_json, to_html


@pytest.mark.parametrize("text", ["<b>d</b>", "</script><script>x()</script>", "<img onerror=x>"])
def test_raw_html_is_shown_as_text(text):
    in_table = f"| {text} | b |\n|---|---|\n| 1 | 2 |"
    for html in (to_html(text), inline_html(text), to_html(in_table)):
        assert "&lt;" in html and not any(f"<{tag}" in html for tag in ("b>", "script", "img"))


def test_links_that_run_code_stay_text():
    html = to_html("[x](javascript:alert(1)) ![y](http://example.org/y.png)")
    assert 'href="javascript' not in html and "<img" not in html


def test_headings_move_down_and_the_first_level_is_left_out():
    html = to_html("# Title\n\n## Part\n\ntext", lower=1)
    assert "Title" not in html and "<h3>Part</h3>" in html


def test_tables_can_scroll():
    assert '<div class="scroll" role="region"' in to_html("| a |\n|---|\n| 1 |")


def test_json_ends_no_script_and_comes_back():
    data = {"a": ["</script><!--", "\u2028"], "b": math.nan, "c": (1.5, math.inf)}
    text = script_json(data)
    assert "<" not in text
    assert json.loads(text) == {"a": ["</script><!--", "\u2028"], "b": None, "c": [1.5, None]}
