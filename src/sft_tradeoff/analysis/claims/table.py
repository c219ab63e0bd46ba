"""The claims of a study as one table, for ``claims.csv``, page and figure, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.analysis.claims.base import Part
from sft_tradeoff.analysis.claims.study import Judgment
from sft_tradeoff.analysis.claims.verdict import Judged
from sft_tradeoff.stats.power import Needed
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import damaged

if TYPE_CHECKING:
    import pandas as pd

OVERALL, ROW, DETAIL = "overall", "row", "detail"  # kinds of rows
# What the effect of a row is.
NUMBERS = ("effect", "low", "high", "stderr", "df", "floor", "margin")
COUNTS = ("n_items", "n_clusters", "n_seeds", "lost", "gained")
WHOLE = (*COUNTS, "clusters_needed", "seeds_needed")
TEXT = (
    *("claim", "kind", "verdict", "model", "domain", "method", "comparison", "estimand", "says"),
    *("unit", "note", "statement", "source", "paper", "others"),
)
COLUMNS = [
    *("claim", "kind", "verdict", "this_run_only", "model", "domain", "method", "comparison"),
    *(
        "estimand",
        "says",
        "unit",
        *NUMBERS,
        "level",
        "p",
        "p_holm",
        *COUNTS,
        "p_mcnemar",
        "visible",
    ),
    *("clusters_needed", "seeds_needed", "note", "statement", "source", "paper", "others"),
]


def claims_table(judgments: Sequence[Judgment]) -> pd.DataFrame:
    """One overall row per claim, each followed by its rows; what is unknown is NaN or empty.

    ``clusters_needed`` and ``seeds_needed`` would settle a row together; both are 0 where no
    feasible number would.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for judgment in judgments:
        claim = judgment.claim
        rows.append(
            {
                "claim": claim.id,
                "kind": OVERALL,
                "verdict": judgment.verdict.value,
                "this_run_only": judgment.one_run,
                "margin": claim.margin,
                "level": claim.level,
                "p_holm": judgment.p_holm,
                "note": judgment.note,
                "statement": claim.statement,
                "source": claim.source,
                "paper": str(claim.paper or ""),
                "others": "; ".join(map(str, claim.others)),
            }
        )
        about = [row for row in judgment.rows if row.finding.comparison or any(row.finding.place)]
        rows += [{"claim": claim.id, "level": claim.level} | _row(row) for row in about]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype(dict.fromkeys(WHOLE, "Int64"))


def read_claims_table(path: Path) -> pd.DataFrame:
    """Read what :func:`claims_table` returned from ``claims.csv``; a missing text is empty.

    Raises:
        UserError: If there is no such file.
        DamagedFileError: If it is not such a table.
    """
    import pandas as pd

    if not path.is_file():
        raise UserError(f"{path}: file not found; pass the table that 'sft-tradeoff claims' writes")
    types = dict.fromkeys(TEXT, "str") | dict.fromkeys(WHOLE, "Int64")
    try:
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
        return table[COLUMNS].fillna(dict.fromkeys(TEXT, ""))
    except (ValueError, TypeError, KeyError) as error:  # not a table, a number, or these columns
        raise damaged(path, error) from None


def _row(row: Judged) -> dict[str, Any]:
    found = row.finding
    numbers = _numbers(found.parts[0]) if found.parts else {}
    both = (row.needed.both or (0, 0)) if row.needed else None
    counted = next((part for part in found.parts if part.lost is not None), None)
    return numbers | {
        "kind": DETAIL if found.detail else ROW,
        "verdict": row.verdict.value,
        "this_run_only": row.one_run,
        **found.place._asdict(),
        "comparison": found.comparison,
        "p": row.p,
        "p_holm": row.p_holm,
        "lost": counted.lost if counted else None,
        "gained": counted.gained if counted else None,
        "p_mcnemar": row.p_mcnemar,
        "visible": row.visible,
        "clusters_needed": both[0] if both else None,
        "seeds_needed": both[1] if both else None,
        "note": "; ".join(filter(None, [row.note, *map(_told, found.parts[1:])])),
    }


def _numbers(part: Part) -> dict[str, Any]:
    effect, interval = part.effect, part.effect.interval
    return {
        "estimand": part.name,
        "says": part.kind.value,
        "unit": part.unit,
        "effect": interval.value,
        "low": interval.low,
        "high": interval.high,
        "stderr": interval.stderr,
        "df": interval.df,
        "floor": interval.floor,
        "margin": part.margin,
        "n_items": effect.n_items,
        "n_clusters": effect.n_clusters,
        "n_seeds": effect.n_seeds,
    }


def _told(part: Part) -> str:
    """A further part of a claim, in words."""
    value, low, high = (f"{x:.4f}".replace("-", "−") for x in part.effect.interval[:3])
    bound = f"{part.kind.value} with m = {part.margin:g} {part.unit}"
    return f"and {part.name} {bound}: {value} [{low}, {high}]"


def claims_record(judgments: Sequence[Judgment]) -> list[dict[str, Any]]:
    """Everything that is known, claim by claim, for ``claims.json``; unknown numbers are None."""
    return [
        {
            **judgment.claim.model_dump(mode="json"),
            "verdict": judgment.verdict.value,
            "this_run_only": judgment.one_run,
            "p_holm": _known(judgment.p_holm),
            "note": judgment.note,
            "rows": [_record(row) for row in judgment.rows],
        }
        for judgment in judgments
    ]


def _record(row: Judged) -> dict[str, Any]:
    found = row.finding
    parts = [
        {name: _known(value) for name, value in _numbers(part).items()}
        | {"premise": part.premise, "lost": part.lost, "gained": part.gained}
        for part in found.parts
    ]
    return {
        **found.place._asdict(),
        "comparison": found.comparison,
        "detail": found.detail,
        "verdict": row.verdict.value,
        "this_run_only": row.one_run,
        "p": _known(row.p),
        "p_holm": _known(row.p_holm),
        "p_mcnemar": _known(row.p_mcnemar),
        "visible_at_80_percent": _known(row.visible),
        "needed": _needed(row.needed),
        "note": row.note,
        "parts": parts,
    }


def _needed(needed: Needed | None) -> dict[str, Any] | None:
    return None if needed is None else needed._asdict()


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
