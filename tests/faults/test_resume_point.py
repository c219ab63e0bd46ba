"""A resume point with a wrong byte or truncated anywhere is read as it was saved, or refused."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sft_tradeoff.system.files import atomic_path, checksum_path
from sft_tradeoff.training.resume import StateFile
from tests.faults.disk import Disk, NoMounts

STATE = {"masters": [torch.arange(40.0)], "log": [{"loss": 0.5}], "time_s": 1.5}
STEP = 7


def is_same(state: dict) -> bool:
    return torch.equal(state["masters"][0], STATE["masters"][0]) and state["log"] == STATE["log"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[StateFile, Path, bytes]:
    file = StateFile(tmp_path_factory.mktemp("state"), "key")
    file.save(STATE, STEP)
    (path,) = file.folder.glob("*.pt")
    return file, path, path.read_bytes()


@settings(max_examples=1000)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
@example(place=0.84375, change=16)  # in the archive's directory, which has no checksum
@example(place=0.84375, change=255)
def test_wrong_byte(saved: tuple[StateFile, Path, bytes], place: float, change: int) -> None:
    """Torch alone loads other values at half of the places: it ignores its own checksums.

    Even with those, a wrong byte of the archive's directory gives whatever was in memory.
    """
    file, path, whole = saved
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= change
    path.write_bytes(damaged)
    assert file.load() is None


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


def test_every_byte_of_the_directory(saved: tuple[StateFile, Path, bytes]) -> None:
    file, path, whole = saved
    for place in range(whole.index(b"PK\x01\x02"), len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        assert file.load() is None
    path.write_bytes(whole)
    state = file.load()
    assert state is not None
    assert is_same(state)


@pytest.mark.parametrize("seal", ["", "0" * 64])
def test_a_damaged_seal(tmp_path: Path, seal: str) -> None:
    file = StateFile(tmp_path, "key")
    file.save(STATE, STEP)
    checksum_path(tmp_path / "key.7.0of1.pt").write_text(seal)
    assert file.load() is None


def test_what_an_older_version_wrote_is_not_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor one whose writer was killed before the checksum; the next resume point removes it."""
    file = StateFile(tmp_path, "key")
    file.save(STATE, STEP)
    checksum_path(tmp_path / "key.7.0of1.pt").unlink()
    assert file.load() is None
    assert "key.7.0of1.pt lacks a part or a checksum" in caplog.text
    assert "starting over" in caplog.text
    file.save(STATE, STEP + 1)
    file.keep_only(STEP + 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".key.8.0of1.pt.sha256", "key.8.0of1.pt"]


def test_killed_before_the_seal_the_previous_resume_point_counts(tmp_path: Path) -> None:
    file = StateFile(tmp_path, "key")
    file.save(STATE, STEP)
    file.save(STATE | {"time_s": 2.5}, STEP + 1)
    checksum_path(tmp_path / "key.8.0of1.pt").unlink()
    state = file.load()
    assert state is not None
    assert state["time_s"] == 1.5


def test_what_a_killed_process_was_writing_goes_with_the_next_save(tmp_path: Path) -> None:
    """Of this part only: other ranks may be writing theirs."""
    first, second = (StateFile(tmp_path, "key", part, 2) for part in (0, 1))
    for file in (first, second):
        file.save(STATE, STEP)
    for path in list(tmp_path.iterdir()):
        if path.suffix == ".pt":
            path.rename(tmp_path / f".{path.stem}.0123456789ab.tmp.pt")
        else:
            path.unlink()
    first.save(STATE, STEP + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".key.7.1of2.0123456789ab.tmp.pt",
        ".key.8.0of2.pt.sha256",
        "key.8.0of2.pt",
    ]


def test_a_full_disk_is_called_so_whatever_the_library_says(tmp_path: Path) -> None:
    """Torch says 'unexpected pos', which does not help a user."""
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
