"""A command on a bad disk uses that disk, whatever path it gives."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

from tests.faults.disk import Disk, NoMounts


@pytest.mark.parametrize("absolute", [False, True])
def test_commands_write_to_the_disk(tmp_path: Path, absolute: bool) -> None:
    try:
        disk = Disk(tmp_path / "results")
    except NoMounts as reason:
        pytest.skip(str(reason))
    file = (tmp_path if absolute else Path()) / "results/file"
    with contextlib.closing(disk):
        subprocess.run([*disk.inside(tmp_path), "touch", file], check=True)
        assert (disk.path / "file").exists()
        disk.remount("ro")
        assert subprocess.run([*disk.inside(tmp_path), "touch", file]).returncode == 1
    assert not list((tmp_path / "results").iterdir())
