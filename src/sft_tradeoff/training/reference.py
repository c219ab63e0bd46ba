"""Compute reference statistics: θ0's loss, entropy and rank for every supervised token.

Computed once per (model, domain) for all methods that need them. A parquet file has one row per
token and is written batch by batch, so memory does not grow with the data. Its metadata name the
data, model and dtype it was computed from: with those of another θ0, training would silently do
something else.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from sft_tradeoff.analysis.base_probability import write_summary
from sft_tradeoff.models.folder import read_record
from sft_tradeoff.models.padding import length_batches
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import path_with_checksum, sha256_of, verify_checksum
from sft_tradeoff.system.processor import type_here
from sft_tradeoff.training.batching import collate

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
BATCH_TOKENS = 4096
FORMAT_VERSION = 1  # raise it when a column changes its meaning
SCHEMA = pa.schema(
    {
        "sequence": pa.int32(),  # row of the example in the tokenized file
        "token": pa.int64(),  # index in TokenizedData.input_ids
        "nll": pa.float32(),  # nats
        "entropy": pa.float32(),  # nats, over the full vocabulary
        "rank": pa.int32(),  # 1 = likeliest; ties share the best rank
    }
)


class ReferenceMismatch(UserError, ValueError):
    """The reference statistics are damaged, or belong to other data or another model."""


def reference_statistics(model: PreTrainedModel, data: TokenizedData) -> Iterator[pa.RecordBatch]:
    """Loss, entropy and rank of every supervised token under a model, batch by batch.

    Args:
        model: θ0 on any device, in the dtype in which training computes.
        data: Tokenized training split.

    Yields:
        One row per supervised token, columns as in ``SCHEMA``, in no particular order.

    Raises:
        UserError: If a loss is not finite.
    """
    batches = list(length_batches(data.lengths, BATCH_TOKENS))
    for rows in tqdm(batches, "reference", unit="batch", disable=None):
        yield _batch_statistics(model, data, rows)


def _batch_statistics(
    model: PreTrainedModel, data: TokenizedData, rows: np.ndarray
) -> pa.RecordBatch:
    import torch

    from sft_tradeoff.models.head import head_logits
    from sft_tradeoff.training.forward import supervised_hidden
    from sft_tradeoff.training.token_loss import CHUNK

    batch = collate(data, rows, 0, pad_id=0)
    on_device = batch.to(model.device)
    with torch.inference_mode():
        hidden = supervised_hidden(model, on_device)  # (N, H)
        parts = [
            _logit_statistics(head_logits(model, h), labels)
            for h, labels in zip(hidden.split(CHUNK), on_device.labels.split(CHUNK), strict=True)
        ]
    columns = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
    columns |= {"sequence": rows[batch.sequence.numpy()], "token": batch.token.numpy()}
    _refuse_not_finite(columns["nll"], columns["sequence"])
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def _logit_statistics(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Columns [n] of the labels [n] under float32 logits [n, V]."""
    import torch

    label = labels[:, None]  # (n, 1)
    # From the logits: subtracting the normalizer rounds, which can make close values equal.
    rank = 1 + (logits > logits.gather(1, label)).sum(1)  # (n,)
    log_probability = logits.log_softmax(1)  # (n, V)
    nll = -log_probability.gather(1, label)[:, 0]  # (n,)
    # In place, because V is large; entr(p) = −p ln p is 0 at p = 0, where the product is NaN.
    probability = log_probability.exp_()
    entropy = torch.special.entr(probability, out=probability).sum(1)  # (n,)
    return {"nll": nll, "entropy": entropy, "rank": rank}


def _refuse_not_finite(nll: np.ndarray, sequence: np.ndarray) -> None:
    broken = ~np.isfinite(nll)
    if broken.any():
        raise UserError(
            f"example {sequence[broken][0]}: θ0's loss is {nll[broken][0]}; set "
            "training.precision to fp32, or fetch the model again if its weights are damaged"
        )


def reference_nll(model: PreTrainedModel, data: TokenizedData) -> np.ndarray:
    """Losses of :func:`reference_statistics` alone, [ΣT] float32 as :func:`load_reference_nll`."""
    return _nll_by_place(reference_statistics(model, data), len(data.input_ids))


def _nll_by_place(batches: Iterable[pa.RecordBatch], n_tokens: int) -> np.ndarray:
    nll = np.full(n_tokens, np.nan, dtype=np.float32)
    for batch in batches:
        nll[batch["token"].to_numpy()] = batch["nll"].to_numpy()
    return nll


def median_sequence_nll(data: TokenizedData, nll: np.ndarray) -> float:
    """Median over the examples of their mean loss in nats: FLOW's τ.

    Args:
        data: The examples; those without supervised tokens are left out.
        nll: [ΣT] nats, one per token of ``data.input_ids``.
    """
    mask = data.response_mask
    sequence = np.repeat(np.arange(len(data)), data.lengths)[mask]  # (N,)
    count = np.bincount(sequence, minlength=len(data))  # (n,)
    total = np.bincount(sequence, weights=nll[mask], minlength=len(data))  # (n,) float64
    return float(np.median(total[count > 0] / count[count > 0]))


def save_reference(path: Path, batches: Iterable[pa.RecordBatch], hashes: dict[str, str]) -> None:
    """Write statistics as they arrive, one row group per batch.

    Args:
        path: The parquet file; it appears when the last batch is written.
        batches: As from :func:`reference_statistics`.
        hashes: Identify data and model: :func:`reference_hashes`, ``dtype`` that the study asks
            for, and ``computed_in``, which differs on a processor that is slow at it.
    """
    facts = json.dumps({"format_version": FORMAT_VERSION, **hashes})
    schema = SCHEMA.with_metadata({"reference": facts})
    with (
        path_with_checksum(path) as temporary,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def load_reference_nll(
    path: Path, data_path: Path, base_model: Path, dtype: str | None = None
) -> np.ndarray:
    """Read reference losses, after checking that they belong to this data and model.

    Args:
        path: What :func:`save_reference` wrote.
        data_path: Tokenized training split.
        base_model: Folder of θ0.
        dtype: Type in which training computes (``bfloat16``); None: any.

    Returns:
        [ΣT] float32 nats, one per token of ``data.input_ids``; NaN where it is not supervised.

    Raises:
        DamagedFileError: If the file has changed since it was written.
        ReferenceMismatch: If data, model or dtype have changed since.
    """
    verify_checksum(path)
    data = TokenizedData.load(data_path)
    expected = {
        "format_version": FORMAT_VERSION,
        **reference_hashes(data_path, base_model),
        "columns": _column_types(SCHEMA),
        "n_tokens": int(data.response_mask.sum()),
    }
    if dtype is not None:
        expected["dtype"] = dtype
    try:
        with pq.ParquetFile(path) as file:
            _refuse_other(path, _facts(file), expected)
            return _nll_by_place(file.iter_batches(columns=["token", "nll"]), len(data.input_ids))
    except (pa.ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split())  # Arrow's messages have several lines
        raise ReferenceMismatch(
            f"{path}: not a whole parquet file ({reason}); delete the file and run the same "
            "command again"
        ) from error


def _facts(file: pq.ParquetFile) -> dict[str, Any]:
    """Metadata, columns and length of a file; no metadata if this tool did not write it."""
    schema = file.schema_arrow
    written = json.loads((schema.metadata or {}).get(b"reference", "{}"))
    return {**written, "columns": _column_types(schema), "n_tokens": file.metadata.num_rows}


def _column_types(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


def _refuse_other(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        if found.get(name) != value:
            raise ReferenceMismatch(
                f"{path}: {name} is {found.get(name)}, the run has {value}; delete the file and "
                "run the same command again"
            )


def reference_hashes(data_path: Path, base_model: Path) -> dict[str, str]:
    """Checksums of the data and the model that reference statistics are computed from."""
    return {"data_sha256": sha256_of(data_path), "model_sha256": read_record(base_model)["sha256"]}


def _report(nll: np.ndarray) -> None:
    """Log what to expect from methods that use θ0's probabilities."""
    nll = nll[~np.isnan(nll)]
    logger.info(
        "%d tokens, median nll %.3f, %.0f %% with p > 0.5",
        len(nll),
        np.median(nll),
        100 * (nll < math.log(2)).mean(),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff reference``."""
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--data", type=Path, required=True, help="tokenized training split, .npz")
    parser.add_argument(
        "--dtype",
        default="bfloat16",
        choices=["bfloat16", "float32"],
        help="type in which θ0 computes (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the .parquet to write; a .json beside it"
    )


def main(args: argparse.Namespace) -> None:
    """Compute θ0's statistics on one tokenized training split."""
    with run_main(f"reference {args.data.parent.name}"):
        import torch

        from sft_tradeoff.models.load import load_model
        from sft_tradeoff.system.allocator import keep_freed_memory

        keep_freed_memory()
        here = type_here(args.dtype)
        model = load_model(args.base_model, getattr(torch, here)).eval()
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        hashes = reference_hashes(args.data, args.base_model)
        hashes |= {"dtype": args.dtype, "computed_in": here}
        batches = reference_statistics(model, TokenizedData.load(args.data))
        save_reference(args.out, batches, hashes)
        nll = load_reference_nll(args.out, args.data, args.base_model, args.dtype)
        write_summary(args.out.with_suffix(".json"), nll[~np.isnan(nll)])
        _report(nll)
