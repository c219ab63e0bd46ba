"""The key 'license', which earlier versions spelled 'licence', in entries and records."""

import json

import pytest

from sft_tradeoff.assets.fetch import SourceError, fetch_asset, parse_asset, read_source
from sft_tradeoff.assets.spec import LocalAsset

ENTRY = {"source": "hub", "repo": "a/b", "revision": "1234567"}


@pytest.mark.parametrize("key", ["license", "licence"])
def test_both_spellings_are_read_and_the_old_one_is_written_for_digests(key):
    asset = parse_asset("x", json.dumps(ENTRY | {key: "MIT"}))
    assert asset.license == "MIT"
    assert asset.model_dump()["licence"] == "MIT" and "license" not in asset.model_dump()
    assert parse_asset("x", asset.model_dump_json()) == asset


def test_a_missing_license_is_named_as_it_is_to_be_written():
    with pytest.raises(SourceError, match=r"license: Field required"):
        parse_asset("x", json.dumps(ENTRY))


def test_records_are_written_with_the_new_key_and_read_with_either(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    record = tmp_path / "cache/SOURCE.json"
    asset = LocalAsset(source="local", path=str(tmp_path / "a.txt"), license="MIT")
    fetch_asset("mine", asset, record)
    written = json.loads(record.read_text())
    assert written["license"] == "MIT" and "licence" not in written
    old = {"licence" if key == "license" else key: value for key, value in written.items()}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert read_source(tmp_path / "old.json") == written
