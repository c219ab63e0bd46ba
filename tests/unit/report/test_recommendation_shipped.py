"""What the page says of saving in bfloat16, and of the numerical noise of the scores."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.noise_floor import NoiseFloor
from sft_tradeoff.analysis.recommendation import recommend
from sft_tradeoff.analysis.run_records import Items, Rounding
from sft_tradeoff.report.recommendation_page import to_markdown
from sft_tradeoff.report.recommendation_shipped import noise_text
from tests.finished_study import RUN
from tests.recommended_runs import BASE, CODE_ONLY, GAIN, N, Run, scores, section_of, study

RATE = 1e-5
FLOORS = {
    ("d", "nll"): NoiseFloor(
        floor=0.02, score=3.0, variants={"batch_tokens 9": 0.01, "float32": 0.02}
    ),
    ("news", "bits_per_byte"): NoiseFloor(
        floor=0.0004, score=1.0, variants={"batch_tokens 9": 0.0004, "float32": 0.0}
    ),
}


def with_shipped(items: Items, nll: float) -> Items:
    """Losses as shipped, ``nll`` nats per item of one token."""
    ids = [str(i) for i in range(N)]
    plain = items["d", "nll"].assign(cluster=ids)
    shipped = pd.DataFrame({"value": nll, "size": 1.0, "cluster": ids}, index=ids)
    return items | {("d", "nll"): plain, ("d", "nll_shipped"): shipped}


def page_of(trained: float, shipped: float, **more: object) -> str:
    """Page of one run, whose NLL falls from 3 (± 10 % by turns) to these, in a padded table."""
    table, measured = study({"sft": {RATE: Run(0.0, 0.001, right=30, nll=trained)}})
    base = with_shipped(scores(BASE.right, BASE.nll), BASE.nll)
    run = with_shipped(scores(30, trained), shipped)
    items = {("m", "d", "base", None): [base], ("m", "d", "sft", RATE): [run]}
    found = measured._replace(items=items, **more)
    return re.sub(" +", " ", to_markdown(recommend(table, found, CODE_ONLY, GAIN)))


def test_a_quarter_of_the_gain_survives() -> None:
    """Gains 1.0 (± 0.1 by turns: t · 0.1005 / √100 = 0.0199) and 0.25 + what θ0 varies by turns."""
    update = Rounding(norm_ratio=0.5, projection=0.25, changed_share=0.031)
    page = page_of(2.0, 2.75, rounding={("m", "d", "sft", RATE): update})
    assert "Saved in bfloat16, 25 % [" in page
    (row,) = (line for line in page.splitlines() if line.startswith("| sft | 1e-5 | 1.000 ["))
    assert re.fullmatch(
        r"\| sft \| 1e-5 \| 1\.000 \[0\.9\d\d, 1\.0\d\d\] \| 0\.250 \[0\.\d+, 0\.\d+\] \| 25 % "
        r"\[\d+, \d+\] \| 0\.50 \| 0\.25 \| 3\.1 % \|",
        row,
    )


def test_an_update_that_evaluation_does_not_see_is_a_warning() -> None:
    for seen, warned in ((1.04, False), (math.nan, False), (0.9, True)):
        update = Rounding(norm_ratio=1.0, projection=1.0, evaluated_projection=seen)
        page = page_of(2.0, 2.75, rounding={("m", "d", "sft", RATE): update})
        assert ("not of the weights as trained" in page) is warned
        assert ("sft at learning rate 1e-5 (0.90)" in page) is warned


def test_the_warning_needs_no_second_score() -> None:
    """vLLM scores rounded weights only."""
    table, measured = study({"sft": {RATE: Run(0.0, 0.001)}})
    update = {("m", "d", "sft", RATE): Rounding(projection=0.3, evaluated_projection=0.3)}
    page = to_markdown(recommend(table, measured._replace(rounding=update), CODE_ONLY, GAIN))
    assert "**These scores are not of the weights as trained**" in page
    assert "sft at learning rate 1e-5 (0.30)" in page and "Survives" not in page


def test_more_than_the_gain_survives_where_rounding_helps() -> None:
    assert "Saved in bfloat16, 150 % [" in page_of(2.0, 1.5)


def test_a_gain_that_may_be_none_cannot_tell() -> None:
    """The gain is 0.01, less than its noise floor of 0.02."""
    page = page_of(2.99, 2.99, floors={"m": FLOORS})
    assert "survives saving in bfloat16 **cannot be told**" in page
    assert "| cannot tell | – | – | – |" in page


def test_what_was_not_measured_is_not_on_the_page() -> None:
    """A study published before rounded weights were scored."""
    page = to_markdown(recommend(*study({"sft": {RATE: Run(0, 0.001)}}), CODE_ONLY, GAIN))
    assert "bfloat16" not in page
    assert "The numerical noise of the scores was not measured" in page


def test_the_noise_floor_is_said_with_its_cause() -> None:
    section = replace(
        section_of({"sft": {RATE: Run(0, 0.001)}}),
        nll_floor=FLOORS["d", "nll"],
        code_floors={"news": FLOORS["news", "bits_per_byte"]},
    )
    assert noise_text(section) == (
        "Numerical noise: computed again with batch_tokens 9 or float32, θ₀'s scores change by up "
        "to 0.020 nats per token (domain NLL; float32); 0.0004 bits per byte (news; batch_tokens "
        "9). All intervals of NLL and code length include this."
    )


def test_a_broken_floor_is_unknown() -> None:
    section = replace(
        section_of({"sft": {RATE: Run(0, 0.001)}}),
        nll_floor=NoiseFloor(floor=math.nan, score=1.0, variants={"float32": math.nan}),
    )
    assert "an unknown amount (a score of domain NLL is not finite)" in noise_text(section)


def test_the_floor_is_in_the_intervals_of_the_page() -> None:
    with_floor, without = page_of(2.0, 2.75, floors={"m": FLOORS}), page_of(2.0, 2.75)
    low = [float(re.findall(r"1\.000 \[([\d.]+),", page)[0]) for page in (with_floor, without)]
    assert low[1] - low[0] == pytest.approx(0.02, abs=1.1e-3)


def test_a_finished_study_as_json(study: tuple[Path, Path], tmp_path: Path) -> None:
    """Runs gain less than nothing: no share, and no number that JSON does not have."""
    results = study[1]
    report = results / "runs" / RUN / "train.json"
    record = json.loads(report.read_text())
    update = {"norm_ratio": 1.5, "projection": None, "changed_share": 0.25}
    record["train_info"]["rounding"] = update | {"evaluated_projection": 1.0}
    report.write_text(json.dumps(record))
    cli.main(
        [
            *("recommend", "--run-table", str(results / "run_table.csv")),
            *("--runs", str(results / "runs")),
            *("--tradeoff", str(results / "tradeoff_over_seeds.csv")),
            *("--out", str(tmp_path / "page.md")),
        ]
    )
    (section,) = json.loads((tmp_path / "page.json").read_text())["sections"]
    first = section["methods"][0]["candidates"][0]
    assert first["rounding"] == update | {"evaluated_projection": 1.0}
    assert first["survival"]["share"] is None and first["survival"]["trained"]["value"] == -0.25
    assert section["nll_floor"]["floor"] == 0.0078125
    assert section["code_floors"]["code_length_code"]["floor"] == 0.03125
    page = (tmp_path / "page.md").read_text()
    assert "0.0312 bits per byte (code_length_code; batch_tokens 2048)" in page
