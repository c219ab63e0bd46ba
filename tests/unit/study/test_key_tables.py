"""The tables of keys say what the code accepts, and the committed ones are up to date."""

import re
from pathlib import Path

from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.config import Study
from sft_tradeoff.study.key_tables import KEYS_PATH, key_tables


def test_committed_tables_are_generated_from_the_models():
    assert KEYS_PATH.read_text() == key_tables(), "run make schema"


def test_rows_say_values_range_default_and_meaning():
    rows = key_tables().splitlines()
    assert "| `floor` | number ≥ 0, ≤ 1 | `0.01` | smallest weight |" in rows
    levels = "`sequence`, `token`, `each_sequence`"
    assert f'| `level` | {levels} | `"sequence"` |' in "\n".join(rows)
    assert any(row.startswith("| `label` | text or `null` | `null` |") for row in rows)
    assert any(row.startswith("| `path` | text | required |") for row in rows)


def test_every_method_with_options_and_every_asset_kind_has_a_table():
    text = key_tables()
    for name, method in METHODS.items():
        assert (f"## `options` of `{name}`" in text) == bool(method.options.model_fields)
    for source in ("wheel", "hub", "local"):
        assert f"## `assets.<name>` with `source`: `{source}`" in text


def test_readme_lists_every_key_at_the_top_of_a_study():
    text = Path("config/README.md").read_text()
    listed = set(re.findall(r"`([a-z_]+)[`.]", "\n".join(re.findall(r"^\|[^|]*\|", text, re.M))))
    assert set(Study.model_fields) <= listed
