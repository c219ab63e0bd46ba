"""All claims against one study: findings, verdicts, and the overall verdict on each claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sft_tradeoff.analysis.claims.base import Finding, Place, Untested
from sft_tradeoff.analysis.claims.registry import QUANTITIES
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.claims.spec import Claim
from sft_tradeoff.analysis.claims.verdict import Judged, Verdict, judge


@dataclass(frozen=True)
class Judgment:
    """What a study says about one claim.

    Args:
        claim: The claim.
        rows: One per model, domain and method where applicable; at least one.
        verdict: Over all rows that are not details.
        p_holm: P value of that verdict, after Holm over all rows of the study.
        note: Why it is not another one.
    """

    claim: Claim
    rows: tuple[Judged, ...]
    verdict: Verdict
    p_holm: float
    note: str

    @property
    def one_run(self) -> bool:
        """Whether everything that was tested speaks of one training run only."""
        tested = [row for row in self.rows if row.verdict is not Verdict.NOT_TESTED]
        return bool(tested) and all(row.one_run for row in tested)


def judge_claims(claims: Sequence[Claim], results: Results) -> list[Judgment]:
    """Test every claim with the runs of a study.

    Args:
        claims: The claims.
        results: What the study measured.
    """
    pairs = [(claim, row) for claim in claims for row in _find(claim, results)]
    judged = judge([claim for claim, _ in pairs], [row for _, row in pairs])
    found = []
    for claim in claims:
        rows = [row for (of, _), row in zip(pairs, judged, strict=True) if of is claim]
        found.append(Judgment(claim, tuple(rows), *overall(rows)))
    return found


def _find(claim: Claim, results: Results) -> Sequence[Finding]:
    try:
        return QUANTITIES[claim.quantity].find(results, claim.parameters(), claim.margin)
    except Untested as reason:
        return [Finding(Place(), missing=str(reason))]


def overall(rows: Sequence[Judged]) -> tuple[Verdict, float, str]:
    """Verdict on a claim that is meant for all models, domains and methods.

    Contradicted if one row is; supported or equivalent if all tested rows are; otherwise the study
    cannot tell. Every row's p value is corrected for all rows of the study, so a single row may
    contradict.

    Returns:
        Verdict, its p value after Holm, and a note.
    """
    main = [row for row in rows if not row.finding.detail] or list(rows)
    tested = [row for row in main if row.verdict is not Verdict.NOT_TESTED]
    if not tested:
        missing = dict.fromkeys(row.note for row in main)
        return Verdict.NOT_TESTED, math.nan, "; ".join(missing)
    notes = list(dict.fromkeys(row.note for row in tested))
    note = notes[0] if len(notes) == 1 else ""
    verdicts = {row.verdict for row in tested}
    if Verdict.CONTRADICTED in verdicts:
        against = [row.p_holm for row in tested if row.verdict is Verdict.CONTRADICTED]
        return Verdict.CONTRADICTED, min(against), _count(tested, len(main))
    verdict = next(iter(verdicts)) if len(verdicts) == 1 else Verdict.CANNOT_TELL
    p = max((row.p_holm for row in tested), default=math.nan)
    return verdict, p, note or _count(tested, len(main))


def _count(tested: Sequence[Judged], n: int) -> str:
    """How many rows say what, if there are several."""
    counts = {v: sum(row.verdict is v for row in tested) for v in Verdict}
    told = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    told += [f"{n - len(tested)} not tested"] * (len(tested) < n)
    return ", ".join(told) if n > 1 else ""
