"""θ0's loss on every training token, computed once per (model, domain) and shared by all methods.

Written as a columnar file, tied by hashes to the data and the model it was computed from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sft_tradeoff.console import UserError, run_main
from sft_tradeoff.files import atomic_path, sha256_of
from sft_tradeoff.tokenization import TokenizedData

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_TOKENS = 4096


class ReferenceMismatch(UserError, ValueError):
    """The reference statistics belong to other data or another model."""


def reference_nll(model: PreTrainedModel, data: TokenizedData) -> np.ndarray:
    """Loss of every token under a model.

    Args:
        model: θ0, in the type in which training computes.
        data: Tokenised training split.

    Returns:
        [ΣT] float32 nats by place in ``data.input_ids``; NaN where the token is not supervised.
    """
    import torch
    from tqdm import tqdm

    from sft_tradeoff.batching import collate, length_batches
    from sft_tradeoff.token_loss import token_nll

    nll = np.full(len(data.input_ids), np.nan, dtype=np.float32)
    for rows in tqdm(list(length_batches(data.lengths, BATCH_TOKENS)), "reference", disable=None):
        batch = collate(data, rows, 0, pad_id=0)
        with torch.inference_mode():
            nll[batch.token.numpy()] = token_nll(model, batch).float().numpy()
    return nll


def save_reference(path: Path, nll: np.ndarray, hashes: dict[str, str]) -> None:
    """Write the supervised tokens' losses with the hashes of their data and model."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    token = np.flatnonzero(~np.isnan(nll))
    table = pa.table({"token": token, "nll": nll[token]})
    table = table.replace_schema_metadata({"hashes": json.dumps(hashes)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def load_reference_nll(path: Path, data_path: Path, base_model: Path) -> np.ndarray:
    """Read reference losses as [ΣT] float32, after checking what they belong to.

    Raises:
        ReferenceMismatch: If data or model have changed since.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    found = json.loads(table.schema.metadata[b"hashes"])
    expected = reference_hashes(data_path, base_model)
    for name, value in expected.items():
        if found.get(name) != value:
            raise ReferenceMismatch(
                f"{path}: {name} is {found.get(name)}, the run has {value}; delete the file and "
                "run the same command again"
            )
    nll = np.full(len(TokenizedData.load(data_path).input_ids), np.nan, dtype=np.float32)
    nll[table["token"].to_numpy()] = table["nll"].to_numpy()
    return nll


def reference_hashes(data_path: Path, base_model: Path) -> dict[str, str]:
    """What reference losses belong to."""
    model = json.loads((base_model / "MODEL.json").read_text())
    return {"data_sha256": sha256_of(data_path), "model_sha256": model["sha256"]}


def main() -> None:
    """Compute θ0's losses on one tokenised training split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--data", type=Path, required=True, help="tokenised training split, .npz")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--out", type=Path, required=True, help="the .parquet to write")
    args = parser.parse_args()
    with run_main(f"reference {args.data.parent.name}"):
        import torch

        from sft_tradeoff.models import load_model

        model = load_model(args.base_model, getattr(torch, args.dtype)).eval()
        nll = reference_nll(model, TokenizedData.load(args.data))
        save_reference(args.out, nll, reference_hashes(args.data, args.base_model))


if __name__ == "__main__":
    main()
