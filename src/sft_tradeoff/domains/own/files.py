"""The files behind the user's path: one file, or a folder of files with splits."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from sft_tradeoff.domains.base import SPLITS
from sft_tradeoff.domains.own.json_rows import SPLIT_NAMES
from sft_tradeoff.domains.own.lines import listed
from sft_tradeoff.system.files import sha256_of
from sft_tradeoff.system.text import shown

SUFFIXES = frozenset(
    [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather"]
)
COMPRESSED = frozenset([".gz", ".bz2", ".xz", ".zst"])
MOST_FILES = 2000
_GIVE = "give a data file (JSON lines, a JSON list, CSV, Parquet), or a folder of them"
_SPECIAL = {
    stat.S_ISFIFO: "a pipe, which can be read only once: write it to a file first, and "
    "give that file",
    stat.S_ISCHR: f"a device; {_GIVE}",
    stat.S_ISBLK: f"a device; {_GIVE}",
    stat.S_ISSOCK: f"a socket; {_GIVE}",
}


def data_files(path: Path) -> list[tuple[Path, str | None]]:
    """Return the data files of a path, each with the split that its name or folder says.

    Raises:
        ValueError: If there are none, or it is not clear which are meant.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"path: cannot read {str(path)!r}: {reason}; {_GIVE}") from None
    for is_kind, what in _SPECIAL.items():
        if is_kind(mode):
            raise ValueError(f"path: {str(path)!r} is {what}")
    if not stat.S_ISDIR(mode):
        return [(path, None)]
    try:
        found = _saved(path) or _named(path)
    except OSError as error:
        raise ValueError(f"path: cannot read {str(error.filename)!r}: {error.strerror}") from None
    if not any(found.values()):
        raise ValueError(f"path: the folder {str(path)!r} has no data files; {_GIVE}")
    return _with_splits(path, found)


def state(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Path, time in nanoseconds and size in bytes of each file: equal until one changes."""
    infos = ((file, file.stat()) for file, _ in data_files(path))
    return tuple((str(file), info.st_mtime_ns, info.st_size) for file, info in infos)


def digest_of(path: Path) -> str:
    """SHA-256 of a data file, or of all files of a folder with their names."""
    if path.is_file():
        return sha256_of(path)
    parts = [f"{file.relative_to(path)} {sha256_of(file)}" for file in _walk(path)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _saved(folder: Path) -> Mapping[str, list[Path]]:
    """Files by split of a folder that ``Dataset`` or ``DatasetDict`` has saved."""
    folders = {"": folder} if (folder / "state.json").is_file() else {}
    if (folder / "dataset_dict.json").is_file():
        folders = {
            sub.name: sub for sub in sorted(folder.iterdir()) if (sub / "state.json").is_file()
        }
    return {split: list(_shards(path)) for split, path in folders.items()}


def _shards(folder: Path) -> Iterator[Path]:
    state_file = folder / "state.json"
    try:
        names = [shard["filename"] for shard in json.loads(state_file.read_bytes())["_data_files"]]
    except (OSError, ValueError, TypeError, LookupError):
        raise ValueError(
            f"path: {str(state_file)!r} is damaged; save the data set again (save_to_disk)"
        ) from None
    for name in names:
        if not (folder / name).is_file():
            raise ValueError(
                f"path: {str(folder / name)!r} is missing; save the data set again (save_to_disk)"
            )
        yield folder / name


def _named(folder: Path) -> Mapping[str, list[Path]]:
    """Data files by the split in their names, as the library ``datasets`` finds it."""
    files = [path for path in _walk(folder) if _format(path)]
    if len(formats := sorted({_format(path) for path in files})) > 1:
        raise ValueError(
            f"path: the folder {str(folder)!r} has files of several formats "
            f"({', '.join(formats)}); give one file, or a folder with only the right ones"
        )
    found = _by_split(folder) if len(files) > 1 else {"": files}
    _refuse_left_out(folder, files, found)
    return found


def _by_split(folder: Path) -> Mapping[str, list[Path]]:
    from datasets.data_files import DataFilesDict, get_data_patterns

    patterns = get_data_patterns(str(folder))
    found = DataFilesDict.from_patterns(patterns, base_path=str(folder))
    paths = {str(split): [Path(str(name)) for name in names] for split, names in found.items()}
    return {split: sorted(filter(_format, names)) for split, names in paths.items()}


def _refuse_left_out(folder: Path, files: list[Path], found: Mapping[str, list[Path]]) -> None:
    """Refuse files whose names say no split where others' do."""
    if left := sorted(set(files).difference(*found.values())):
        names = listed(str(path.relative_to(folder)) for path in left)
        raise ValueError(
            f"path: the folder {str(folder)!r} has the splits {listed(found)}, but the names of "
            f"other files say none ({names}); rename or remove these, or give one file"
        )


def _walk(folder: Path) -> Iterator[Path]:
    """All visible files of a folder.

    Raises:
        ValueError: If there are too many for a data set.
    """
    paths = (Path(root, name) for root, names in _visible(folder) for name in names)
    for n, path in enumerate(paths):
        if n >= MOST_FILES:
            raise ValueError(
                f"path: the folder {str(folder)!r} has more than {MOST_FILES} files; give the data "
                "file, or a folder with only the data"
            )
        if path.is_file():
            yield path


def _visible(folder: Path) -> Iterator[tuple[str, list[str]]]:
    def refuse(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        if link := next((name for name in folders if os.path.islink(Path(root, name))), None):
            raise ValueError(
                f"path: {str(Path(root, link))!r} is a link to a folder, which is not followed; "
                "give that folder, or copy its files here"
            )
        yield root, sorted(name for name in names if not name.startswith("."))


def _format(path: Path) -> str:
    """The suffix of a data file, without that of its compression; empty for other files."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    is_described = path.name in ("dataset_infos.json", "dataset_info.json", "state.json")
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES and not is_described else ""


def _with_splits(folder: Path, found: Mapping[str, list[Path]]) -> list[tuple[Path, str | None]]:
    """Files with their splits; without, if there is only one."""
    splits = {name: SPLIT_NAMES.get(name.lower()) for name in found}
    if len(found) == 1:
        return [(path, None) for path in itertools.chain(*found.values())]
    example = str(next(paths[0].parent for paths in found.values() if paths))
    if None in splits.values() or len(set(splits.values())) < len(splits):
        raise ValueError(
            f"path: the folder {str(folder)!r} has the splits {listed(found)}, not "
            f"{', '.join(SPLITS)}; give the file or folder of one of them, which is then divided"
        )
    if missing := {"train", "test"} - set(splits.values()):
        raise ValueError(
            f"path: the folder {str(folder)!r} has the splits {listed(found)}, but none for "
            f"{shown(min(missing))}; give the file or folder of one of them (in {shown(example)}), "
            "which is then divided"
        )
    return [(path, splits[name]) for name, paths in found.items() for path in paths]
