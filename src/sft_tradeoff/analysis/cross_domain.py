"""What training on one domain does to the others: change of every domain's scores against θ0."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from sft_tradeoff.analysis.comparison import NLL, AllItems
from sft_tradeoff.analysis.run_records import Items, Key
from sft_tradeoff.analysis.scores import NOT_EVALUATED, join_reasons
from sft_tradeoff.analysis.starts import Starts
from sft_tradeoff.analysis.tables import BASE, DIFFERENCE, LEVEL, SETTING, Row, domains_of
from sft_tradeoff.analysis.tolerance import ACCURACY, no_change_bound
from sft_tradeoff.stats.bootstrap import Clustered, ratios, resampled_ratios
from sft_tradeoff.stats.estimates import within
from sft_tradeoff.stats.intervals import Interval, interval
from sft_tradeoff.system.console import UserError

METRICS = (ACCURACY, NLL)
PARTS = ("", "_stderr", "_low", "_high")
COLUMNS = [
    *("model", "domain", "test_domain", "method", "label", "learning_rate", "n_seeds"),
    *(f"{metric}_change{part}" for metric in METRICS for part in PARTS),
    "reason",
]
NOTHING = Interval(*[np.nan] * len(Interval._fields))
SEED = 0  # of the resamples


def cross_domain_table(
    runs: pd.DataFrame,
    items: AllItems,
    starts: Starts = MappingProxyType({}),
) -> pd.DataFrame:
    """Compare every setting with θ0 on the test of every domain that it was scored on.

    Intervals hold the noise of independent units of items (:mod:`~sft_tradeoff.stats.bootstrap`)
    and of seeds. Where no accuracy changed, the interval is that of the rule of three. A setting
    with a seed that is not evaluated is NaN, with the reason.

    Args:
        runs: The run table, θ0 included.
        items: Per-item scores of each setting, one entry per seed.
        starts: Model -> runs that its θ0 comes from; what these learned may be forgotten.

    Returns:
        One row per setting and domain, with the columns :data:`COLUMNS`: changes of accuracy
        (a fraction) and NLL (nats per token), run minus θ0 on the same items.

    Raises:
        UserError: If θ0 was scored on different items than a run.
    """
    rows = []
    domains_of_model = {model: domains_of(group) for model, group in runs.groupby("model")}
    trained = runs[runs["method"] != BASE]
    for values, group in trained.groupby(SETTING, sort=False):
        setting: Row = dict(zip(SETTING, values, strict=True))
        model, label, rate = setting["model"], setting["label"], setting["learning_rate"]
        seeds = items.get((model, setting["domain"], label, rate), ())
        base = items.get((model, setting["domain"], BASE, None), ())
        tested = {*domains_of_model[model], *(start.domain for start in starts.get(model, ()))}
        for domain in (domain for domain in domains_of(runs) if domain in tested):
            evaluated = len(base) == 1 and len(seeds) == len(group)
            if evaluated and any((domain, ACCURACY) not in run for run in seeds):
                continue  # each run was scored on its own domain only
            row = setting | {"test_domain": domain, "n_seeds": len(group)}
            rows.append(row | _changes(domain, base, seeds, evaluated))
    return pd.DataFrame(rows, columns=COLUMNS)


def since_pretrained_table(runs: pd.DataFrame, items: AllItems, starts: Starts) -> pd.DataFrame:
    """Compare models that start from a run, and their runs, with the pretrained model.

    What the first run added and what the later ones took away are both in it.

    Args:
        runs: The run table, θ0 included.
        items: Per-item scores of each setting, one entry per seed.
        starts: Model -> runs that its θ0 comes from, the first one first.

    Returns:
        As :func:`cross_domain_table`, with the pretrained model under ``against``. For the start
        itself method and label are ``base``, and ``domain`` is what it was trained on last.
    """
    rows = []
    for model, chain in ((model, chain) for model, chain in starts.items() if chain):
        of_model = runs[runs["model"] == model]
        tested = {*domains_of(of_model), *(start.domain for start in chain)}
        plain = _theta0(items, chain[0].model)
        for values, group in of_model.groupby(SETTING, sort=False, dropna=False):
            setting: Row = dict(zip(SETTING, values, strict=True))
            is_start = setting["method"] == BASE
            if is_start:
                setting["domain"] = chain[-1].domain
            key = model, setting["domain"], setting["label"], setting["learning_rate"]
            scored = _theta0(items, model) if is_start else items.get(key, ())
            evaluated = len(plain) == 1 and len(scored) == len(group)
            for domain in (domain for domain in domains_of(runs) if domain in tested):
                if evaluated and any((domain, ACCURACY) not in run for run in (*plain, *scored)):
                    continue
                row = setting | {"test_domain": domain, "n_seeds": len(group)}
                row |= {"against": chain[0].model}
                rows.append(row | _changes(domain, plain, scored, evaluated))
    return pd.DataFrame(rows, columns=[*COLUMNS, "against"])


def _theta0(items: AllItems, model: str) -> Sequence[Items]:
    """Scores of a model's θ0, which is listed under every domain."""
    return next((runs for key, runs in items.items() if (key[0], key[2]) == (model, BASE)), ())


def _changes(
    domain: str, base: Sequence[Items], seeds: Sequence[Items], evaluated: bool
) -> dict[str, object]:
    row: dict[str, object] = {}
    reasons = [] if evaluated else [NOT_EVALUATED]
    for metric in METRICS:
        found = NOTHING
        if evaluated:
            found, reason = _change((domain, metric), base[0], seeds)
            reasons.append(reason and f"{metric}: {reason}")
        parts = (found.value, found.stderr, found.low, found.high)
        row |= {f"{metric}_change{part}": x for part, x in zip(PARTS, parts, strict=True)}
    return row | {"reason": join_reasons(reasons)}


def _change(key: Key, base: Items, seeds: Sequence[Items]) -> tuple[Interval, str]:
    """Change of one score against θ0, and why it is NaN; empty if it is a number."""
    before = base[key]
    if any(set(run[key].index) != set(before.index) for run in seeds):
        raise UserError(
            f"benchmark {key[0]!r} ({key[1]}): a run and θ0 were scored on different items; run "
            "'sft-tradeoff aggregate', which names it and says what to do"
        )
    after = np.array([run[key]["value"].loc[before.index] for run in seeds], dtype=np.float64)
    cluster = pd.factorize(before["cluster"])[0]
    scores = Clustered(after - before["value"].to_numpy(), before["size"].to_numpy(), cluster)
    broken = int(np.isnan(scores.value).any(axis=0).sum())
    if broken:
        return NOTHING, f"{broken} of {len(before)} items are not finite"
    each = ratios(scores)  # (S,)
    if scores.n_clusters < 2:
        return NOTHING._replace(value=float(each.mean())), "one independent unit has no interval"
    resampled = resampled_ratios(scores, np.random.default_rng(SEED))  # (R, S)
    found = interval(float(each.mean()), resampled, each, scores.df, LEVEL)
    if key[1] == ACCURACY:
        found = _as_accuracy(found, scores.n_clusters)
    return found, ""


def _as_accuracy(found: Interval, n: int) -> Interval:
    """At least as wide as for n units of which none changed, and within [−1, 1]."""
    bound = no_change_bound(n, LEVEL)
    ends = min(found.low, found.value - bound), max(found.high, found.value + bound)
    low, high = within(*ends, *DIFFERENCE)
    return found._replace(low=low, high=high)
