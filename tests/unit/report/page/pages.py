"""Pages of studies made by hand, with texts that would break a page that does not escape them."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pandas as pd

from sft_tradeoff.analysis.evidence import Measured
from sft_tradeoff.analysis.recommendation import Recommendation, recommend
from sft_tradeoff.analysis.tables import BASE, FLOORS, PLAIN, SCORE_COLUMNS
from sft_tradeoff.report.page.changes import fit
from sft_tradeoff.report.page.looks import looks
from sft_tradeoff.report.page.points import Tables, points, quantities
from sft_tradeoff.report.page.rule import rule_tables
from sft_tradeoff.report.page.study import StudyPage, first_axes, limited
from sft_tradeoff.report.page.text import to_html
from tests.recommended_runs import CODE_ONLY, GAIN, SFT, Run, study

DOMAIN = "<b>d</b>"
ANSWER = "</script><script>window.broken = true</script><!--"
ACCURACY = "general_score_difference"
Runs = dict[str, dict[float, Run]]

TALR = {
    1e-5: Run(0.000, 0.001, right=20, nll=2.2),
    1e-4: Run(0.004, 0.004, right=62, nll=1.1),
    1e-3: Run(0.030, 0.010, right=93, nll=0.6),
}
KNOWN: Runs = {"sft": SFT, "talr": TALR}


NAMES = ("sft", "talr", "dft", "eaft", "psft", "stm", "flow", "asft", "kl_reg", "l2_reg")


def random_runs(seed: int, methods: int = 3, rates: int = 4, without_sft: bool = False) -> Runs:
    """Runs whose losses mostly grow with the learning rate; some have no general accuracy."""
    draw = random.Random(seed)
    names = [f"talr-{i}" for i in range(methods)] if without_sft else NAMES[:methods]

    def run(i: int) -> Run:
        loss = draw.uniform(-0.01, 0.03) * 3 ** (4 * i / rates)
        drop = draw.uniform(-0.02, 0.05) * (1 + 4 * i / rates)
        other = {ACCURACY: -drop, f"{ACCURACY}_low": -drop - 0.02, f"{ACCURACY}_high": -drop + 0.02}
        if draw.random() < 0.05:
            other[f"{ACCURACY}_low"] = other[f"{ACCURACY}_high"] = other[ACCURACY] = math.nan
        return Run(loss, draw.uniform(1e-4, 0.02), draw.randrange(10, 95), draw.random(), **other)

    grid = [float(f"{1e-6 * 10 ** (4 * i / rates):.1e}") for i in range(rates)]
    return {name: {rate: run(i) for i, rate in enumerate(grid)} for name in names}


def recommendation_of(
    runs: Runs, tolerance: dict[str, float] = CODE_ONLY
) -> tuple[pd.DataFrame, Measured, Recommendation]:
    table, measured = study(runs)
    return table, measured, recommend(table, measured, tolerance, GAIN)


def tables_of(table: pd.DataFrame) -> Tables:
    """The tables of such a study: one seed per setting."""
    trained = table[table["method"] != BASE]
    rates = trained["learning_rate"].astype(str)
    names = "m.d." + trained["label"] + ".lr" + rates + ".seed0"
    columns = ["model", "domain", "method", "label", "learning_rate"]
    runs = trained[columns].assign(run=names, seed=0)
    base = {"run": "m.base", "model": "m", "domain": None, "method": BASE, "label": BASE}
    runs = pd.concat([pd.DataFrame([base]), runs], ignore_index=True)
    known = table.drop(columns=[*FLOORS, *PLAIN]).assign(time_s=60.0)
    for name in ("domain_score", "domain_nll"):
        known[f"{name}_low"], known[f"{name}_high"] = 0.9 * known[name], 1.1 * known[name]
    scores = pd.DataFrame(columns=SCORE_COLUMNS)
    return Tables(runs, scores, known.assign(seed=0), known)


def chosen(option: int) -> tuple[None, str, list[float]]:
    """Text, answer and log-likelihoods of one of two options."""
    return None, str(option), [-1.0 - (option == 1), -1.0 - (option == 0)]


def answers_of(runs: list[str]) -> dict[tuple[str, str], pd.DataFrame]:
    """Two items in which each run differs from θ0: one generated, one chosen."""
    rows = [
        ("d", "item-1", "generation", "gained", None, ANSWER, None, None, "<i>4</i>", "4", None),
        ("piqa", "item-2", "multiple_choice", "lost", 1, *chosen(1), *chosen(0)),
    ]
    sides = [f"{name}_{run}" for run in ("one", "other") for name in ("text", "parsed")]
    columns = ["benchmark", "item", "kind", "change", "gold", *sides[:2], "log_likelihood_one"]
    columns += [*sides[2:], "log_likelihood_other"]
    return {("m", run): pd.DataFrame(rows, columns=columns, dtype=object) for run in runs}


def page_of(name: str, runs: Runs, rules: bool = True, domain: str = "d") -> StudyPage:
    """The page of a study.

    Args:
        name: Of the study.
        runs: Label -> learning rate -> run.
        rules: Whether runs are compared with each other, which takes long for many.
        domain: What its domain is called.
    """
    table, measured, found = recommendation_of(runs)
    tables = tables_of(table)
    axes = quantities(tables)
    sections = rule_tables(found, measured) if rules else [bare_section(found)]
    dots = points(tables, Path("nowhere"))
    for entry in (*sections, *dots):
        entry["domain"] = domain
    data = {
        "name": name,
        "sections": sections,
        "points": dots,
        "axes": [axis.record for axis in axes],
        "start": first_axes(axes, CODE_ONLY),
        "looks": looks(table),
        "changes": fit(answers_of([r for r in tables.runs["run"] if r != "m.base"])),
        "tolerance": CODE_ONLY,
        "units": {measure: axis.unit for measure, axis in limited(axes).items()},
    }
    shown = {
        "description": f"A study of {domain}",
        "facts": [("Domain", domain)],
        "headlines": [{"title": domain, "text": to_html(f"Train on {domain}."), "chosen": True}],
        "recommendation": to_html(
            f"# Page\n\n## {domain}\n\n| a | b |\n|:--|:--|\n| {ANSWER} | 1 |"
        ),
        "claims": [claim(domain)],
        "verdicts": {"cannot tell": 1},
        "methods": [method(label) for label in runs],
        "provenance": [("Hardware", [ANSWER])],
        "cards": [{"domain": domain, "text": to_html(ANSWER)}],
        "looks": data["looks"],
    }
    return StudyPage(name, shown, data)


def bare_section(found: Recommendation) -> dict[str, Any]:
    """Rule tables in which no run beats another."""
    (section,) = found.sections
    methods = [
        {
            "label": m.label,
            "candidates": [
                {
                    "rate": c.learning_rate,
                    "losses": {n: [x.value, x.low, x.high] for n, x in c.losses.items()},
                    "complete": True,
                    "gain": c.domain_score,
                    "nll": c.domain_nll,
                }
                for c in m.candidates
            ],
            "worse": [[] for _ in m.candidates],
            "against": [[None for _ in m.candidates] for _ in m.candidates],
        }
        for m in section.methods
    ]
    names = {"model": section.model, "domain": section.domain, "measure": "accuracy"}
    return names | {"sft": section.sft, "methods": methods}


def claim(domain: str) -> dict[str, Any]:
    row = {
        **{"where": domain, "comparison": ANSWER, "effect": "0.1 [0.0, 0.2]", "claimed": "> 0"},
        **{"sizes": "1 / 1 / 1", "settling": "", "verdict": "cannot tell", "kind": "cannot-tell"},
        **{"detail": False, "note": "", "link": "#methods=sft"},
    }
    texts = {"id": "F1", "statement": ANSWER, "source": "here", "paper": domain, "others": ""}
    verdict = {
        "verdict": "cannot tell",
        "kind": "cannot-tell",
        "one_run": True,
        "settling": "2 seeds",
    }
    return texts | verdict | {"rows": [row]}


def method(label: str) -> dict[str, Any]:
    return {
        **{"name": label, "source": "here", "formula": "loss = 1", "text": [ANSWER]},
        "variants": [{"label": label, "options": ANSWER}],
    }
