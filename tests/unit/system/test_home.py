"""Users of containers may have no name and no home to write to."""

import getpass
import os
import pwd
from pathlib import Path

import pytest

from sft_tradeoff.system.home import supply_home

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
HOMES = ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")


@pytest.fixture
def unknown(monkeypatch):
    """A user whom the system does not know, and no variables that help."""

    def no_entry(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in NAMES + HOMES:
        monkeypatch.setenv(name, "")  # so that what the test sets is undone
        monkeypatch.delenv(name)


def changes(folder):
    """Variables that are set or changed."""
    before = dict(os.environ)
    supply_home(os.environ, folder)
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


def test_a_user_without_name_and_home_gets_both(tmp_path, monkeypatch, unknown):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "new"
    assert changes(folder.relative_to(tmp_path)) == {"USER": str(os.getuid()), "HOME": str(folder)}
    assert getpass.getuser() == str(os.getuid())
    assert os.path.expanduser("~/x") == f"{folder}/x"
    assert changes(folder) == {}


@pytest.mark.parametrize("home", ["/", "a file", "not writable"])
def test_a_home_that_is_not_writable_is_kept_without_its_cache(
    tmp_path, monkeypatch, unknown, home
):
    path = tmp_path / home  # "/" as it is
    if home == "a file":
        path.touch()
    elif home == "not writable":
        path.mkdir()
    monkeypatch.setattr(os, "access", lambda tried, mode: tried != path)
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("USER", "me")
    new = {"XDG_CACHE_HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    assert changes(tmp_path) == new


def test_nothing_changes_where_all_is_well(tmp_path, monkeypatch, unknown):
    monkeypatch.setenv("USER", "me")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert changes(tmp_path / "new") == {}
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not yet"))
    assert changes(tmp_path / "new") == {}


def test_a_home_below_a_folder_that_may_not_be_entered_is_kept_without_its_cache(
    tmp_path, monkeypatch, unknown
):
    """HOME=/root in an image, run as another user. Tests may run as root, who may enter."""

    def refuse(tried, *rest, stat=os.stat, **keywords):
        if str(tried).startswith(f"{tmp_path}/"):
            raise PermissionError(13, "Permission denied", str(tried))
        return stat(tried, *rest, **keywords)

    access = os.access
    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(
        os, "access", lambda tried, mode: str(tried) != str(tmp_path) and access(tried, mode)
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "me")
    new = {"XDG_CACHE_HOME": "/other", "MPLCONFIGDIR": "/other/matplotlib"}
    assert changes(Path("/other")) == new
