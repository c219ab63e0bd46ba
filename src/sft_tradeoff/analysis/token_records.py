"""Files of single tokens: of the test's right answers, and of the training responses.

Both have the same columns; what a stage does not measure is null. Their metadata name the run, the
data, the model and its vocabulary, because tokens of two runs are compared one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sft_tradeoff.analysis.run_records import evaluation_record, training_record
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import checksum_path, damaged, path_with_checksum, verify_checksum

TEST_TOKENS, TRAINING_TOKENS = "tokens.parquet", "training_tokens.parquet"
FORMAT_VERSION = 2  # raise it when a column changes its meaning
SCHEMA = pa.schema(
    {
        "domain": pa.string(),
        "example": pa.string(),  # id of a test example, number of a training example
        "cluster": pa.int32(),  # number of the independent unit of the example in its split
        "place": pa.int32(),  # in the response, from 0
        "token": pa.int32(),
        "text": pa.string(),
        "kind": pa.string(),  # one of token_kinds.KINDS
        "step": pa.int32(),  # of training, from 1; the loss is that before its update
        "epoch": pa.int32(),  # pass over the data, from 1
        "nll": pa.float32(),  # nats
        "entropy": pa.float32(),  # nats, over the full vocabulary
        "rank": pa.int32(),  # 1 = likeliest; ties share the best rank
        "reference_nll": pa.float32(),  # nats, under θ0
    }
)
TEXTS = [field.name for field in SCHEMA if field.type == pa.string()]
TOKEN = ["domain", "example", "place", "token"]  # identify a token


class Facts(NamedTuple):
    """What a file of tokens belongs to.

    Args:
        run: The run.
        model_sha256: Of θ0.
        data_sha256: Of each domain's examples.
        vocabulary_sha256: Of the tokenizer.
    """

    run: str
    model_sha256: str
    data_sha256: Mapping[str, str]
    vocabulary_sha256: str = ""


class Recorded(NamedTuple):
    """Tokens of one run, with what they belong to."""

    path: Path
    facts: Facts
    frame: pd.DataFrame


class TokensMismatch(UserError, ValueError):
    """A file of tokens belongs to another run, other data or another model."""


def token_batch(columns: Mapping[str, Any], domain: str, **measured: np.ndarray) -> pa.RecordBatch:
    """Rows of a file.

    Args:
        columns: As from :meth:`~sft_tradeoff.analysis.token_kinds.Describer.columns`, [N] each.
        domain: Of all of them.
        measured: Further columns of :data:`SCHEMA`, [N] each; those not given are null.
    """
    n = len(columns["token"])
    found = {"domain": [domain] * n, **columns, **measured}
    arrays = [
        pa.array(found[field.name], field.type) if field.name in found else pa.nulls(n, field.type)
        for field in SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def write_tokens(path: Path, batches: Iterable[pa.RecordBatch], facts: Facts) -> None:
    """Write tokens as they arrive, one row group per batch; the file appears when it is whole."""
    text = json.dumps({"format_version": FORMAT_VERSION, **facts._asdict()})
    schema = SCHEMA.with_metadata({"tokens": text})
    with (
        path_with_checksum(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def remove_tokens(path: Path) -> None:
    """Remove what a run has left that kept its tokens; a later one keeps none."""
    for left in (path, checksum_path(path)):
        left.unlink(missing_ok=True)


def read_test_tokens(folder: Path) -> Recorded | None:
    """Tokens of the test's right answers in a run's folder; None if the run kept none.

    Raises:
        UserError: If the file is damaged, or is not of this run, its data and its θ0.
    """
    record = evaluation_record(folder)
    if record is None or not (folder / TEST_TOKENS).is_file():
        return None
    return _read(folder / TEST_TOKENS, record.machine, record.test_sha256)


def read_training_tokens(folder: Path) -> Recorded | None:
    """Tokens of the training responses in a run's folder; see :func:`read_test_tokens`."""
    record = training_record(folder)
    if record is None or not (folder / TRAINING_TOKENS).is_file():
        return None
    data = record.machine.get("data_sha256")
    return _read(folder / TRAINING_TOKENS, record.machine, data)


def _read(path: Path, machine: Mapping[str, Any], data: Mapping[str, str] | str | None) -> Recorded:
    verify_checksum(path)
    try:
        table = pq.read_table(path, read_dictionary=TEXTS)
        content = json.loads((table.schema.metadata or {})[b"tokens"])
        version = content.pop("format_version")
        facts = Facts(**content)
        frame = table.select(SCHEMA.names).to_pandas()
    except (pa.ArrowException, OSError, LookupError, ValueError, TypeError) as error:
        if getattr(error, "errno", None) is not None:  # not the file's fault
            raise
        raise damaged(path, error) from None
    expected = {
        "format_version": (version, FORMAT_VERSION),
        "run": (facts.run, path.parent.name),
        "model_sha256": (facts.model_sha256, machine.get("base_model_sha256")),
    }
    for domain, found in facts.data_sha256.items():
        wanted = data.get(domain) if isinstance(data, Mapping) else data
        expected[f"data_sha256 of {domain}"] = (found, wanted)
    _refuse_other(path, expected, "the record of the run in the same folder")
    return Recorded(path, facts, frame)


def _refuse_other(path: Path, found_and_expected: Mapping[str, Any], source: str) -> None:
    for name, (found, expected) in found_and_expected.items():
        if found != expected:
            raise TokensMismatch(
                f"{path}: {name} is {found}, {source} has {expected}; delete the file and run the "
                "same command again"
            )


def paired(base: Recorded, run: Recorded) -> pd.DataFrame:
    """The tokens of a run's domains under θ0 and after training, one by one.

    Args:
        base: Test tokens of θ0.
        run: Those of a run from it.

    Returns:
        The run's rows, with θ0's ``nll``, ``entropy`` and ``rank`` as ``*_before``.

    Raises:
        TokensMismatch: If model, vocabulary or data differ, or a token is not in both.
    """
    names = ("model_sha256", "vocabulary_sha256")
    facts = {name: (getattr(run.facts, name), getattr(base.facts, name)) for name in names}
    facts |= {
        f"data_sha256 of {domain}": (digest, base.facts.data_sha256.get(domain))
        for domain, digest in run.facts.data_sha256.items()
    }
    _refuse_other(run.path, facts, f"θ0 ({base.path})")
    before = base.frame[[*TOKEN, "nll", "entropy", "rank"]]
    both = run.frame.merge(before, on=TOKEN, suffixes=("", "_before"), validate="one_to_one")
    if len(both) != len(run.frame):
        raise TokensMismatch(
            f"{run.path}: {len(run.frame) - len(both)} of {len(run.frame)} tokens are not in "
            f"{base.path}; delete both files and run the same command again"
        )
    return both
