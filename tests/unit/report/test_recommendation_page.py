"""What the page recommends, and its tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings

from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.recommendation import recommend
from sft_tradeoff.report.recommendation_notes import notes
from sft_tradeoff.report.recommendation_page import headline, to_markdown
from tests.recommended_runs import (
    CODE,
    CODE_ONLY,
    GAIN,
    NAN,
    RUN_COLUMNS,
    RUNS,
    SFT,
    Run,
    allowed,
    method_of,
    section_of,
    studies,
    study,
    write_domain,
    write_runs,
)


def test_the_largest_rate_within_and_the_best_of_those() -> None:
    section = section_of({"sft": SFT})
    method = method_of(section, "sft")
    assert [c.verdict.value for c in method.candidates] == ["within", "within", "exceeds"]
    assert method.largest == 1e-4
    assert section.chosen is method.best is method.candidates[1]
    assert section.measure == "accuracy"
    assert (section.base_score, section.base_nll) == (0.1, 3.0)
    text = headline(section, CODE_ONLY)
    assert text.startswith(
        "**Train with sft at learning rate 1e-4.** General loss: 0.0050 [0.0030,"
    )
    assert "0.600 (θ₀: 0.100)" in text and "60 s and 2.0 GB" in text


def test_the_loss_decides_where_accuracy_is_at_the_floor() -> None:
    """10 of 100 before, 11 after: not significant, so NLL decides, and the page says so."""
    runs = {1e-5: Run(0, 0.001, right=11, nll=2.0), 1e-4: Run(0, 0.001, right=10, nll=2.5)}
    section = section_of({"sft": runs})
    assert section.measure == "nll"
    assert section.chosen is not None and section.chosen.learning_rate == 1e-5
    assert notes(section, CODE_ONLY)[0].startswith(
        "Domain accuracy does not distinguish any run from θ₀"
    )
    assert (
        "Domain NLL 2.000 (θ₀: 3.000). **Its accuracy, 0.110 (θ₀: 0.100), cannot be distinguished "
        "from that of θ₀ on 100 test items**"
    ) in headline(section, CODE_ONLY)


def test_nothing_learned_is_said() -> None:
    section = section_of({"sft": {1e-5: Run(0, 0.001, right=10, nll=3.0)}})
    assert "But its gain over θ₀ on the domain does not count" in headline(section, CODE_ONLY)


def test_every_run_exceeds() -> None:
    section = section_of({"sft": {1e-4: Run(0.5, 0.01), 1e-3: Run(0.9, 0.01)}})
    assert section.chosen is None and section.methods[0].largest is None
    assert headline(section, CODE_ONLY).startswith("**No run stays within the tolerance**")
    assert notes(section, CODE_ONLY) == [
        "Even the smallest learning rate tried exceeds the tolerance; try sft at 1e-5."
    ]


def test_too_few_items_to_tell() -> None:
    """0.005 ± 0.01 against 0.01: ± 0.005 takes four times the 40 items."""
    section = section_of({"sft": {1e-4: Run(0.005, 0.01)}})
    assert section.chosen is None
    assert headline(section, CODE_ONLY).startswith("**No recommendation at this sample size**")
    assert notes(section, CODE_ONLY) == [
        "sft at learning rate 1e-4 cannot be judged: 0.0050 [−0.0050, 0.0150] bits per byte (about "
        "160 items instead of 40 could tell)."
    ]


def test_a_rate_within_above_one_that_exceeds() -> None:
    section = section_of({"sft": {1e-5: Run(0.5, 0.01), 1e-4: Run(0.0, 0.001)}})
    assert section.chosen is None and section.methods[0].largest is None
    assert headline(section, CODE_ONLY).startswith(
        "**No recommendation**: there are runs within the tolerance, but none that counts"
    )


def test_no_general_suite() -> None:
    table, measured = study({"sft": SFT})
    for name in (CODE, "general_score_difference"):
        table[[name, f"{name}_low", f"{name}_high"]] = NAN
    found = recommend(table, measured._replace(suite={}), {}, GAIN)
    page = to_markdown(found)
    assert "measures no general ability" in page and "there is no general score" in page
    assert found.sections[0].chosen is None


@settings(max_examples=25)
@given(runs=studies, limit=allowed)
def test_the_recommended_run_is_within_and_the_page_names_it(
    runs: dict[str, dict[float, Run]], limit: float
) -> None:
    found = recommend(*study(runs), {"bits_per_byte": limit}, GAIN)
    page, chosen = to_markdown(found), found.sections[0].chosen
    smallest = [of[min(of)] for of in runs.values()]
    assert (chosen is None) == all(run.code + run.half > limit for run in smallest)
    if chosen is not None:
        smaller = [r for rate, r in runs[chosen.label].items() if rate <= chosen.learning_rate]
        assert all(run.code + run.half <= limit for run in smaller)
        assert f"**Train with {chosen.label} at learning rate" in page
        largest = method_of(found.sections[0], chosen.label).largest
        assert largest is not None and chosen.learning_rate <= largest
    for line in page.splitlines():
        assert not re.search(r"\bnan\b|\bNone\b|\binf\b", line), line


def test_the_tables_of_the_page() -> None:
    found = recommend(*study({"sft": SFT, "talr": {1e-4: SFT[1e-4]}}), CODE_ONLY, GAIN)
    page = re.sub(" +", " ", to_markdown(found))  # without the padding of the tables
    assert "code length grows by at most 0.01 bits per byte" in page
    assert "more than 0.01 in accuracy, as a fraction, or 0.01 nats per token" in page
    assert "One seed: " in page
    assert "| sft | 1e-4 | 1e-4 | 0.600 | 1.000 | | | 60 s | 2.0 GB |" in page
    assert "| talr | 1e-4 | 1e-4 | 0.600 | 1.000 | +0.000 [−0.037, 0.037] | +0.000 [0.000," in page
    assert "| Loss in bits per byte at | 1e-5 | 1e-4 | 1e-3 |" in page
    assert "| sft | within: 0.0000 | within: 0.0050 | exceeds: 0.5000 |" in page
    assert "| talr | | within: 0.0050 | |" in page


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metric": "numeric", "tolerance": 0.05}, True),
        ({"metric": "numeric", "tolerance": 0.0}, False),
        (
            {"metric": "exact_match", "tolerance": 0.05},
            False,
        ),  # only numeric has a tolerance
    ],
)
def test_a_tolerance_of_answers_is_on_the_page(
    tmp_path: Path, settings: dict[str, Any], said: bool
) -> None:
    runs = write_runs(tmp_path)
    write_domain(runs / str(RUNS[0][0]) / "eval.json", **settings)
    measured = read_measured(pd.DataFrame(RUNS, columns=RUN_COLUMNS), runs)
    page = to_markdown(recommend(*study({"sft": SFT}), CODE_ONLY, GAIN), measured.grading)
    text = "if its relative difference from the gold number is at most 0.05."
    assert (text in page) is said
