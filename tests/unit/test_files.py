"""Atomic writes: the final name holds the old content or the new, never a part."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.files import atomic_path, atomic_write_json, atomic_write_text, sha256_of


def test_text_arrives_as_written_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    atomic_write_text(path, "zwei\nZeilen – ü\n")
    assert path.read_bytes() == "zwei\nZeilen – ü\n".encode()
    assert os.listdir(path.parent) == ["a.txt"]


def test_error_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_reader_of_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with open(path) as reader:
        atomic_write_text(path, "new and longer")
        assert reader.read() == "old"
    assert path.read_text() == "new and longer"


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write_text(tmp_path / "a.txt", "text")
    assert os.listdir(tmp_path) == []


def test_unserialisable_json_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic_write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        atomic_write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_nan_stays_nan(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "a.json", {"score": math.nan})
    assert math.isnan(json.loads((tmp_path / "a.json").read_text())["score"])


def test_temporary_lies_beside_the_target_and_keeps_its_suffix(tmp_path: Path) -> None:
    # numpy appends .npz to names without it, which would leave the real temporary empty
    with atomic_path(tmp_path / "a.npz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npz"
        temporary.touch()


def test_other_users_of_a_shared_cache_can_read(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        atomic_write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_known_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@given(content=st.binary(max_size=300))
def test_digest_is_of_all_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("digest") / "a"
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()
