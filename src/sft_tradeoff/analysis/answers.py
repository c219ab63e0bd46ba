"""What models answered, item by item (``answers.parquet``), and what one got right and not another.

It holds generations, the answers found in them, and log-likelihoods of options, but no prompts and
no texts of the benchmarks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sft_tradeoff.system.files import damaged, verify_checksum

if TYPE_CHECKING:
    import pandas as pd

ANSWERS = "answers.parquet"
KEY = ["benchmark", "item"]
FROM_MODEL = ["text", "parsed"]  # columns that hold what a model wrote
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in (*KEY, "kind")),
        ("text", pa.string()),  # a generation as it was graded; null if the model chose an option
        ("parsed", pa.string()),  # the answer found in it, or the index of the option; may be null
        ("correct", pa.bool_()),  # null: not graded, because the grader failed
        ("log_likelihood", pa.list_(pa.float64())),  # of each option, in nats; null if generated
        ("gold", pa.int32()),  # index of the right option; null if generated
    ]
)


def read_answers(folder: Path) -> pd.DataFrame | None:
    """Read what a run answered; None if its answers are not kept, as in older publications.

    Args:
        folder: Of the run, with ``answers.parquet``.

    Returns:
        One row per generated or chosen answer, with the columns of :data:`SCHEMA`.

    Raises:
        DamagedFileError: If the file was changed or is not such a table.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    path = folder / ANSWERS
    if not path.is_file():
        return None
    verify_checksum(path)
    try:
        records = pq.read_table(path).cast(SCHEMA).to_pylist()
    except (pa.ArrowException, ValueError, OSError) as error:
        if getattr(error, "errno", None) is not None:  # not the file's fault
            raise
        raise damaged(path, error) from None
    frame = pd.DataFrame(records, columns=SCHEMA.names, dtype=object)  # None stays None
    if frame[KEY].isna().any(axis=None) or frame.duplicated(KEY).any():
        raise damaged(path, "an item has no name or is there twice")
    return frame


def changed_answers(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Items that exactly one of two runs answers right, with both answers.

    Items that only one of them was asked or that could not be graded are left out.

    Args:
        one: Answers of the run to compare with, such as θ0; see :func:`read_answers`.
        other: Answers of the run to look at.

    Returns:
        One row per item, in the order of ``other``: ``benchmark``, ``item``, ``kind``, ``change``
        (``gained`` if ``other`` is right, ``lost`` if ``one`` is), ``gold``, and ``text``,
        ``parsed`` and ``log_likelihood`` of both, with the suffixes ``_one`` and ``_other``.
    """
    both = other.merge(one.drop(columns=["kind", "gold"]), on=KEY, suffixes=("_other", "_one"))
    both = both.dropna(subset=["correct_one", "correct_other"])
    both = both[both["correct_one"] != both["correct_other"]].reset_index(drop=True)
    change = both["correct_other"].map({True: "gained", False: "lost"})
    answered = ("text", "parsed", "log_likelihood")
    columns = [f"{name}_{run}" for run in ("one", "other") for name in answered]
    return both[[*KEY, "kind", "gold", *columns]].assign(change=change)
