"""Atomic writes: the final name holds the old content or the new, never a part."""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from sft_tradeoff.models.folder import staged_folder
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import (
    DamagedFileError,
    atomic_path,
    atomic_write_json,
    atomic_write_text,
    checksum_path,
    path_with_checksum,
    read_json,
    sha256_of,
    verify_checksum,
)


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


# --- seals --------------------------------------------------------------------------------------


def test_seal_is_what_sha256sum_reads(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a b.txt", "abc", checksum=True)
    command = ["sha256sum", "--check", "--strict", ".a b.txt.sha256"]
    assert subprocess.run(command, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0


@given(content=st.binary(min_size=1, max_size=99), place=st.integers(0), change=st.integers(1, 255))
@example(content=b"1", place=0, change=1)  # still a number
def test_any_wrong_byte_is_seen(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, place: int, change: int
) -> None:
    path = tmp_path_factory.mktemp("sealed") / "a"
    with path_with_checksum(path) as temporary:
        temporary.write_bytes(content)
    verify_checksum(path)
    damaged = bytearray(content)
    damaged[place % len(content)] ^= change
    path.write_bytes(damaged)
    with pytest.raises(DamagedFileError, match=r"/a is not as it was written; delete it and run"):
        verify_checksum(path)


@pytest.mark.parametrize("seal", [b"", b"\xff", b"0" * 64])
def test_a_damaged_seal_is_seen(tmp_path: Path, seal: bytes) -> None:
    atomic_write_json(tmp_path / "a.json", {"a": 1}, checksum=True)
    assert read_json(tmp_path / "a.json") == {"a": 1}
    checksum_path(tmp_path / "a.json").write_bytes(seal)
    with pytest.raises(DamagedFileError):
        read_json(tmp_path / "a.json")


def test_a_file_of_the_users_own_has_no_seal(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert read_json(tmp_path / "a.json") == {}
    verify_checksum(tmp_path / "missing")


class Killed(BaseException):
    """Like SIGKILL, it lets nothing be cleaned up that the final names would show."""


@pytest.mark.parametrize("moment", range(4))
def test_a_kill_between_file_and_seal_leaves_no_file_with_the_seal_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Before or after each of the two renames, and when all is done."""
    path, passed = tmp_path / "a.txt", 0
    atomic_write_text(path, "old", checksum=True)
    rename = os.replace

    def replace(source: Path, target: Path) -> None:
        nonlocal passed
        for act in (lambda: None, lambda: rename(source, target)):
            act()
            if passed == moment:
                raise Killed
            passed += 1

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Killed):
        atomic_write_text(path, "newer", checksum=True)
    assert path.read_text() == ("newer" if moment else "old")
    assert checksum_path(path).exists() == (moment == 3)
    verify_checksum(path)


def test_an_error_while_writing_keeps_file_and_seal(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old", checksum=True)
    with pytest.raises(RuntimeError), path_with_checksum(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    verify_checksum(path)
    assert sorted(os.listdir(tmp_path)) == [".a.txt.sha256", "a.txt"]


# --- no more can be written -----------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path], None]] = {
    "torch": lambda path: torch.save({"a": torch.zeros(250_000)}, path),
    "safetensors": lambda path: save_file({"a": torch.zeros(250_000)}, path),
    "numpy": lambda path: np.savez(path, a=np.zeros(250_000)),
}


@pytest.mark.parametrize("limit", [100_000, 900_000])
@pytest.mark.parametrize("library", WRITERS)
def test_a_limit_on_the_size_of_files_is_named(
    tmp_path: Path, library: str, limit: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """As ``ulimit -f`` sets it, less than the 1 MB of the file; it is no limit on the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(SystemExit), run_main("a"), atomic_path(tmp_path / "a.npz") as path:
            WRITERS[library](path)
        with pytest.raises(SystemExit), run_main("b"), staged_folder(tmp_path / "b") as folder:
            (folder / "small.json").write_text("{}")
            WRITERS[library](folder / "a.npz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    for line in errors:
        assert "File too large; raise the limit on the size of files (ulimit -f" in line
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_library_itself_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not a disk"), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise RuntimeError("not a disk")
    with pytest.raises(RuntimeError, match="not a disk"), atomic_path(tmp_path / "a"):
        raise RuntimeError("not a disk")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_the_users_file_behind_a_link_is_never_written(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    """A model folder is built with links to the user's weights, its largest files."""
    weights = tmp_path / "user.safetensors"
    weights.write_bytes(b"weights" * 100)
    with pytest.raises(RuntimeError, match="any"), staged_folder(tmp_path / "out") as folder:
        link(weights, folder / "model.safetensors")
        (folder / "config.json").write_text("{}")
        raise RuntimeError("any")
    assert weights.read_bytes() == b"weights" * 100
    assert os.listdir(tmp_path) == [weights.name]
