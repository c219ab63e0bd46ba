"""Read data sets as their hub repositories hold them, and draw the splits of a domain from them.

Rows are read one batch or line at a time, with only the columns that are needed: ESCI has 2.6
million. A defect is reported with its file, row (the first is 1) and column.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sft_tradeoff.benchmarks.reading import read_records
from sft_tradeoff.console import UserError
from sft_tradeoff.domains.base import Splits

if TYPE_CHECKING:
    import pyarrow

    from sft_tradeoff.domains.base import Example
    from sft_tradeoff.specs import DomainSpec

logger = logging.getLogger("sft_tradeoff.domains")

FORMATS = (".parquet", ".csv", ".jsonl", ".json")
BATCH_ROWS = 8192
_JSON_CHUNK = 1 << 20
_JSON_LARGEST = 1 << 24  # characters of one record; what is longer is no list of records
# Control characters other than line break and tab, and halves of characters beyond U+FFFF.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_BETWEEN_RECORDS = re.compile(r"[\s,]*")
_REPAIR = "fetch its asset again, or correct your own files"


class HubDataError(UserError, ValueError):
    """A data set is not what its hub repository holds; the message says where and what."""


class Row(NamedTuple):
    """One row of a data set.

    Args:
        path: Its file.
        number: Within the file, from 1.
        values: By column.
    """

    path: Path
    number: int
    values: dict[str, Any]

    def text(self, column: str) -> str:
        """The text of a column, without control characters; a number counts as its text.

        Raises:
            HubDataError: If it is empty or no text.
        """
        value = self.values[column]
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            value = str(value)
        text = printable(value).strip() if isinstance(value, str) else ""
        if not text:
            raise self.error(column, f"is {value!r}, not a text")
        return text

    def error(self, column: str, problem: str) -> HubDataError:
        """Error about one column of this row, e.g. ``'query' is None, not a text``."""
        return HubDataError(f"{self.path}, row {self.number}: {column!r} {problem}; {_REPAIR}")


def printable(text: str) -> str:
    """A text with plain line breaks and without control characters."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def data_files(source: Path, split: str = "") -> list[Path]:
    """Files of a split: with names that begin like it, or in a folder of its name.

    Args:
        source: The asset's folder, or its one file.
        split: ``train`` or ``test``; empty for a data set of one split.

    Raises:
        HubDataError: If there are none, or several versions of the data.
    """
    if source.is_file() and not split:
        return [source]
    paths = [
        path
        for path in sorted(source.rglob("*"))
        if path.suffix in FORMATS
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
        and (path.name.startswith(split) or path.relative_to(source).parent.name == split)
    ]
    if len({(path.parent, path.suffix) for path in paths}) != 1:
        found = ", ".join(str(path.relative_to(source)) for path in paths[:5]) or "none"
        raise HubDataError(
            f"{source}: the files of {f'split {split!r}' if split else 'the data set'} must be of "
            f"one format ({', '.join(FORMATS)}) and in one folder, named {split}* or in a folder "
            f"{split!r}; found: {found}; let the asset give just these files"
        )
    return paths


def read_rows(paths: Iterable[Path], columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of files of any of the :data:`FORMATS`, with at least these columns.

    Raises:
        HubDataError: If a column is missing or a file is damaged.
        BenchmarkError: If a line of ``.csv`` or ``.jsonl`` cannot be read.
    """
    for path in paths:
        for number, record in enumerate(_records(path, columns), start=1):
            _check_columns(path, record, columns)
            yield Row(path, number, record)


def _records(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        for batch in parquet_batches(path, columns):
            yield from batch.to_pylist()
    elif path.suffix == ".json":
        yield from _json_list(path)
    else:
        yield from read_records(path, ())


def parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Yield some columns of a Parquet file, a few thousand rows at a time.

    Raises:
        HubDataError: If a column is missing or the file is damaged.
    """
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            yield from file.iter_batches(BATCH_ROWS, columns=list(columns))
    except (OSError, ValueError) as error:
        if isinstance(error, HubDataError):
            raise
        raise HubDataError(f"{path} is damaged ({error}); {_REPAIR}") from error


def _json_list(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of one JSON list, which may be larger than the memory."""
    decoder = json.JSONDecoder()
    with open(path, encoding="utf-8") as file:
        text = file.read(_JSON_CHUNK).lstrip()
        if not text.startswith("["):
            raise HubDataError(f"{path} is no JSON list of records; {_REPAIR}")
        at = 1
        while True:
            at = _end_of(_BETWEEN_RECORDS, text, at)
            if text.startswith("]", at):
                return
            try:
                record, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:  # not yet read to its end, or damaged
                more = file.read(_JSON_CHUNK)
                if not more or len(text) - at > _JSON_LARGEST:
                    raise HubDataError(f"{path} is damaged ({error.msg}); {_REPAIR}") from error
                text, at = text[at:] + more, 0
            else:
                yield record


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _check_columns(path: Path, present: Any, columns: Sequence[str]) -> None:
    if not isinstance(present, dict | list):
        raise HubDataError(f"{path}: a record is {present!r}, not an object; {_REPAIR}")
    if missing := [column for column in columns if column not in present]:
        raise HubDataError(
            f"{path}: no column {', '.join(map(repr, missing))}, only "
            f"{', '.join(map(repr, present))}; this is another data set, or another version of it: "
            f"{_REPAIR}"
        )


# --- drawing ------------------------------------------------------------------------------------


def digest(seed: int, *texts: str) -> int:
    """A number in [0, 2⁶⁴) that orders texts at random, the same way for the same seed."""
    text = "\n".join([str(seed), *texts])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Drawn(NamedTuple):
    """Indices of the drawn examples: of validation and training among the same candidates.

    Args:
        train: Of training.
        validation: Of validation.
        test: Of the test, among its own candidates.
        n_beside: Candidates that are in neither, because they share something with validation.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    n_beside: int


def draw(spec: DomainSpec, order: np.ndarray, group: np.ndarray, test_order: np.ndarray) -> Drawn:
    """Draw the three splits.

    Test is a random sample of its candidates. Validation takes whole groups, in random order; the
    other examples of the last one are not trained on either. Training takes a random sample of the
    rest, and all of it if that is less than asked for.

    Args:
        spec: Sizes.
        order: [n] uint64 random order of the candidates of training and validation.
        group: [n] uint64 what they share with others, such as a query; equal means shared.
        test_order: [m] uint64 random order of the candidates of the test.

    Raises:
        HubDataError: If there are too few candidates.
    """
    validation = np.lexsort((order, group))[: spec.n_validation]
    free = np.flatnonzero(~np.isin(group, group[validation]))
    train = free[np.argsort(order[free], kind="stable")][: spec.n_train]
    test = np.argsort(test_order, kind="stable")[: spec.n_test]
    for split, found in (("test", test), ("validation", validation)):
        if len(found) < getattr(spec, f"n_{split}"):
            raise HubDataError(
                f"n_{split}: {getattr(spec, f'n_{split}')} examples asked for, but the data set "
                f"has {len(found)}; use n_{split} <= {len(found)}"
            )
    if not len(train):
        raise HubDataError(
            f"n_validation: {spec.n_validation} of {len(order)} candidates leave nothing to train "
            "on; lower it"
        )
    if len(train) < spec.n_train:
        logger.info("n_train: %d asked for, all %d that there are", spec.n_train, len(train))
    return Drawn(train, validation, test, len(order) - len(free) - len(validation))


def draw_examples(
    spec: DomainSpec,
    candidates: Sequence[tuple[str, Example]],
    test: Sequence[Example],
    shared: str,
) -> Splits:
    """Draw the three splits of examples that are in memory; see :func:`draw`.

    Args:
        spec: Sizes and seed.
        candidates: For training and validation, each with what it shares with others.
        test: Candidates of the test.
        shared: Name of what is shared, such as ``note``.
    """
    drawn = draw(
        spec,
        order=_digests(spec.seed, (example.id for _, example in candidates)),
        group=_digests(spec.seed, (group for group, _ in candidates)),
        test_order=_digests(spec.seed, (example.id for example in test)),
    )
    splits = {
        "train": [candidates[i][1] for i in drawn.train],
        "validation": [candidates[i][1] for i in drawn.validation],
        "test": [test[i] for i in drawn.test],
    }
    return Splits(splits, [beside_validation(drawn, len(candidates), shared)])


def _digests(seed: int, texts: Iterable[str]) -> np.ndarray:
    return np.fromiter((digest(seed, text) for text in texts), dtype=np.uint64)


def left_out(n_left_out: int, n_rows: int, why: str) -> str:
    """Say, for the log and the data card, how many training rows are not used."""
    share = n_left_out / max(1, n_rows)
    remark = f"{n_left_out} of {n_rows} training rows ({share:.2%}) are left out: {why}."
    if n_left_out:
        logger.warning("%s", remark)
    return remark


def beside_validation(drawn: Drawn, n_candidates: int, shared: str) -> str:
    """Say how many rows are left out for the sake of the validation."""
    return left_out(drawn.n_beside, n_candidates, f"they share their {shared} with the validation")
