"""A resume point with any wrong byte, or cut anywhere, is the state that was saved, or none."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.files import atomic_path
from sft_tradeoff.resume import StateFile
from tests.faults.disk import Disk, NoMounts

STATE = {"masters": [torch.arange(40.0)], "log": [{"loss": 0.5}], "time_s": 1.5}
STEP = 7


def is_same(state: dict) -> bool:
    return torch.equal(state["masters"][0], STATE["masters"][0]) and state["log"] == STATE["log"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[StateFile, Path, bytes]:
    file = StateFile(tmp_path_factory.mktemp("state"), "key")
    file.save(STATE, STEP)
    (path,) = file.folder.iterdir()
    return file, path, path.read_bytes()


@settings(max_examples=300)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_wrong_byte(saved: tuple[StateFile, Path, bytes], place: float, change: int) -> None:
    """Torch alone loads other values at half of the places: it ignores its own checksums."""
    file, path, whole = saved
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= change
    path.write_bytes(damaged)
    state = file.load()
    assert state is None or is_same(state)


@settings(max_examples=50)
@given(place=st.floats(0, 1, exclude_max=True))
def test_cut(saved: tuple[StateFile, Path, bytes], place: float) -> None:
    file, path, whole = saved
    path.write_bytes(whole[: int(place * len(whole))])
    assert file.load() is None
    path.write_bytes(whole)
    state = file.load()
    assert state is not None
    assert is_same(state)


def test_what_a_killed_process_was_writing_goes_with_the_next_save(tmp_path: Path) -> None:
    """Of this part only: other ranks may be writing theirs."""
    first, second = (StateFile(tmp_path, "key", part, 2) for part in (0, 1))
    for file in (first, second):
        file.save(STATE, STEP)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / f".{path.stem}.0123456789ab.tmp.pt")
    first.save(STATE, STEP + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".key.7.1of2.0123456789ab.tmp.pt",
        "key.8.0of2.pt",
    ]


def test_a_full_disk_is_called_so_whatever_the_library_says(tmp_path: Path) -> None:
    """Torch says 'unexpected pos', which no user can act upon."""
    try:
        disk = Disk(tmp_path / "disk")
    except NoMounts as reason:
        pytest.skip(str(reason))
    try:
        disk.remount("size=128k")
        with (
            pytest.raises(OSError, match="No space") as raised,
            atomic_path(disk.path / "a.pt") as temporary,
        ):
            torch.save(torch.zeros(100_000), temporary)
        assert raised.value.errno == errno.ENOSPC
        assert isinstance(raised.value.__cause__, RuntimeError)
        assert not list(disk.path.iterdir())
    finally:
        disk.close()


def test_an_error_of_ones_own_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), atomic_path(tmp_path / "a"):
        raise RuntimeError("mine")
    assert not list(tmp_path.iterdir())
