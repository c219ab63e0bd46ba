"""Make the tables of a study's single tokens, from which their figures are drawn.

Every table has the columns of a setting. A setting of which a run has kept no tokens yet has one
row without numbers.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sft_tradeoff.analysis.tables import (
    BASE,
    LEVEL,
    SETTING,
    TOKEN_TABLES,
    Row,
    domains_of,
    read_run_table,
)
from sft_tradeoff.analysis.token_change import (
    QUANTILES,
    TOPS,
    is_easy,
    lorenz_curve,
    moved,
    shares_of_kinds,
)
from sft_tradeoff.analysis.token_curriculum import ALL, learned_by_epoch
from sft_tradeoff.analysis.token_records import (
    Recorded,
    paired,
    read_test_tokens,
    read_training_tokens,
)
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.stats.estimates import confidence_interval, crossed_estimate
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_text
from sft_tradeoff.system.text import escaped

HARDEST = 20  # tokens of one example
CONTEXT = 12  # characters before a token


class SettingRuns(NamedTuple):
    """The runs of one setting.

    Args:
        setting: Model, domain, method, label and learning rate.
        runs: Run of each seed.
        base: Run of θ0.
    """

    setting: Row
    runs: Sequence[str]
    base: str


def settings_of(runs: pd.DataFrame) -> list[SettingRuns]:
    """All settings of a run table: those of θ0 on each domain first."""
    names = runs[runs["method"] == BASE].set_index("model")["run"]
    found = []
    for model, group in runs.groupby("model", sort=False):
        for domain in domains_of(group):
            base: Row = dict(zip(SETTING, (model, domain, BASE, BASE, math.nan), strict=True))
            found.append(SettingRuns(base, [names[model]], names[model]))
    for values, group in runs[runs["method"] != BASE].groupby(SETTING, sort=False):
        trained: Row = dict(zip(SETTING, values, strict=True))
        found.append(SettingRuns(trained, list(group["run"]), names[trained["model"]]))
    return found


def token_tables(runs: pd.DataFrame, folder: Path) -> dict[str, pd.DataFrame]:
    """File name -> table.

    Args:
        runs: The run table, θ0 included.
        folder: Holds ``<run>/`` with tokens and records.

    Raises:
        UserError: If a file of tokens is damaged or belongs to something else.
    """
    settings = settings_of(runs)
    trained = [s for s in settings if s.setting["method"] != BASE]
    learned = [s for s in trained if METHODS[s.setting["method"]].merge is None]
    path = _paths(folder)
    makers: dict[str, tuple[Sequence[SettingRuns], Callable[[SettingRuns], list[Row]]]] = {
        "token_probability.csv": (settings, lambda s: _probabilities(_test(folder, s))),
        "token_change.csv": (trained, lambda s: _changes(_changed(folder, s))),
        "token_curriculum.csv": (learned, lambda s: _curriculum(_training(folder, s))),
        "token_paths.csv": (learned, path),
    }
    return {
        name: pd.DataFrame(
            [s.setting | row for s in of for row in rows_of(s) or [{}]],
            columns=TOKEN_TABLES[name],
        )
        for name, (of, rows_of) in makers.items()
    }


def _read(
    folder: Path, runs: Sequence[str], read: Callable[[Path], Recorded | None]
) -> list[Recorded]:
    """Tokens of all runs; none if one of them has none."""
    found = [tokens for run in runs if (tokens := read(folder / run))]
    return found if len(found) == len(runs) else []


def _test(folder: Path, of: SettingRuns) -> list[pd.DataFrame]:
    """Test tokens of the setting's own domain, of each seed."""
    frames = [found.frame for found in _read(folder, of.runs, read_test_tokens)]
    return [frame[frame["domain"].astype(str) == of.setting["domain"]] for frame in frames]


def _changed(folder: Path, of: SettingRuns) -> list[pd.DataFrame]:
    base = read_test_tokens(folder / of.base)
    seeds = _read(folder, of.runs, read_test_tokens) if base else []
    frames = [paired(base, seed) for seed in seeds if base]
    return [frame[frame["domain"].astype(str) == of.setting["domain"]] for frame in frames]


def _training(folder: Path, of: SettingRuns) -> list[pd.DataFrame]:
    return [found.frame for found in _read(folder, of.runs, read_training_tokens)]


def _probabilities(seeds: list[pd.DataFrame]) -> list[Row]:
    """Quantiles of p, and the share of easy tokens; means over seeds."""
    if not seeds:
        return []
    p = np.mean([np.quantile(np.exp(-frame["nll"]), QUANTILES) for frame in seeds], axis=0)
    easy = float(np.mean([is_easy(frame["nll"].to_numpy()).mean() for frame in seeds]))
    return [
        {"quantile": q, "p": float(value), "share_easy": easy, "n_tokens": len(seeds[0])}
        for q, value in zip(QUANTILES, p, strict=True)
    ]


def _changes(seeds: list[pd.DataFrame]) -> list[Row]:
    """The Lorenz curve, and the shares of each kind; means over seeds."""
    if not seeds:
        return []
    curve = np.mean([lorenz_curve(moved(frame)) for frame in seeds], axis=0)
    rows: list[Row] = [
        {"kind": ALL, "tokens": top, "share": float(share)}
        for top, share in zip(TOPS, curve, strict=True)
    ]
    kinds = [shares_of_kinds(frame) for frame in seeds]
    for kind, (tokens, _) in kinds[0].items():
        share = float(np.mean([found[kind][1] for found in kinds]))
        rows.append({"kind": kind, "tokens": tokens, "share": share})
    return rows


def _curriculum(seeds: list[pd.DataFrame]) -> list[Row]:
    """Share of learned tokens by epoch and difficulty, with the noise of examples and seeds."""
    if not seeds:
        return []
    counts = pd.concat(
        [learned_by_epoch(frame).assign(seed=seed) for seed, frame in enumerate(seeds)]
    )
    rows: list[Row] = []
    for _, group in counts.groupby(["difficulty", "epoch"], sort=True):
        difficulty, epoch = group["difficulty"].iloc[0], group["epoch"].iloc[0]
        wide = group.pivot(index="seed", columns="example", values="learned")
        first = group[group["seed"] == group["seed"].min()].set_index("example").loc[wide.columns]
        size, cluster = first["n_tokens"], first["cluster"]
        found = crossed_estimate(wide.to_numpy(float), size.to_numpy(float), cluster)
        low, high = confidence_interval(found, LEVEL)
        row = {"difficulty": difficulty, "epoch": float(epoch), "n_tokens": int(size.sum())}
        bounds = {"share_low": max(low, 0.0), "share_high": min(high, 1.0)}
        rows.append(row | {"share": found.value} | bounds)
    return rows


def _paths(folder: Path) -> Callable[[SettingRuns], list[Row]]:
    """Follow the hardest tokens of one example per model and domain, in the first seed's run."""
    chosen: dict[tuple[str, str], str] = {}

    def rows_of(of: SettingRuns) -> list[Row]:
        frames = _training(folder, of)
        if not frames:
            return []
        place = of.setting["model"], of.setting["domain"]
        example = chosen.setdefault(place, typical_example(frames[0]))
        return list(_path(frames[0][frames[0]["example"].astype(str) == example]))

    return rows_of


def typical_example(frame: pd.DataFrame) -> str:
    """The example whose mean loss under θ0 is the median of the examples; the lower of two."""
    first = frame[frame["epoch"] == frame["epoch"].min()]
    means = first.groupby(first["example"].astype(str))["reference_nll"].mean()
    return str(means.sort_values(kind="stable").index[(len(means) - 1) // 2])


def _path(tokens: pd.DataFrame) -> Iterator[Row]:
    """Rows of one example: p under θ0 (epoch 0) and in every epoch, in the order of the text."""
    first = tokens[tokens["epoch"] == tokens["epoch"].min()].sort_values("place")
    text = first["text"].astype(str).tolist()
    hardest = first.nlargest(HARDEST, "reference_nll").sort_values("place")
    for token in hardest.itertuples():
        before = "".join(text[: token.place])[-CONTEXT:]  # places count from 0
        same = tokens[tokens["place"] == token.place].sort_values("epoch")
        row = {
            "example": token.example,
            "place": token.place,
            "context": escaped(before),
            "text": escaped(str(token.text)),
        }
        yield row | {"epoch": 0.0, "p": math.exp(-token.reference_nll)}
        for epoch, nll in zip(same["epoch"], same["nll"], strict=True):
            yield row | {"epoch": float(epoch), "p": math.exp(-nll)}


def write_token_tables(runs: pd.DataFrame, folder: Path, out: Path) -> None:
    """Write all tables of :func:`token_tables` to a folder."""
    for name, table in token_tables(runs, folder).items():
        text = table.to_csv(index=False, lineterminator="\n")
        atomic_write_text(out / name, text, checksum=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff token-tables``."""
    parser.add_argument("--run-table", type=Path, required=True, help="run_table.csv")
    parser.add_argument("--runs", type=Path, required=True, help="folder with <run>/eval.json")
    parser.add_argument("--out-dir", type=Path, required=True, help="folder for the tables")


def main(args: argparse.Namespace) -> None:
    """Write the tables of one study."""
    with run_main("token-tables"):
        write_token_tables(read_run_table(args.run_table), args.runs, args.out_dir)
