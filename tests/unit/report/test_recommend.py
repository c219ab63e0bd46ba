"""What is recommended, from studies whose every number is known by hand."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff import cli
from sft_tradeoff.analysis.comparison import DEFAULT_SMALLEST_GAIN, Outcome
from sft_tradeoff.analysis.evidence import Cost, Measured, Setting, read_measured
from sft_tradeoff.analysis.recommendation import MethodResult, Recommendation, Section, recommend
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.analysis.tables import OVER_SEEDS_COLUMNS
from sft_tradeoff.report.recommendation_notes import notes
from sft_tradeoff.report.recommendation_page import headline, to_markdown

NAN = math.nan
CODE = "general_bits_per_byte_difference"
SUITE = {
    ("m", "bits_per_byte"): {"code_length_news": 20, "code_length_code": 20},
    ("m", "accuracy"): {"piqa": 5000, "boolq": 5000},
}
CODE_ONLY = {"bits_per_byte": 0.01}
GAIN = DEFAULT_SMALLEST_GAIN
N = 100  # test items; accuracies below are numbers of right answers


@functools.cache
def scores(right: int, nll: float) -> Items:
    """Items of a domain: the first ``right`` are right; losses nll ± 10 %, so differences too."""
    ids = [str(i) for i in range(N)]
    accuracy = {"value": [float(i < right) for i in range(N)], "size": [1.0] * N}
    losses = {"value": [nll * (1 + 0.1 * (-1) ** i) for i in range(N)], "size": [1.0] * N}
    return {
        ("d", "accuracy"): pd.DataFrame(accuracy, index=ids),
        ("d", "nll"): pd.DataFrame(losses, index=ids),
    }


class Run:
    """One run: code length change ± half the width of its interval, right answers, loss."""

    def __init__(
        self, code: float, half: float, right: int = 50, nll: float = 1.0, **other: Any
    ) -> None:
        self.code, self.half, self.right, self.nll, self.other = code, half, right, nll, other

    def row(self, method: str, label: str, rate: float) -> dict[str, Any]:
        names = {"model": "m", "domain": "d", "method": method, "label": label, "reason": ""}
        numbers = {
            "learning_rate": rate,
            "n_seeds": 1,
            CODE: self.code,
            f"{CODE}_low": self.code - self.half,
            f"{CODE}_high": self.code + self.half,
            "domain_score": self.right / N,
            "domain_nll": self.nll,
        }
        return dict.fromkeys(OVER_SEEDS_COLUMNS, 0.0) | names | numbers | self.other


BASE = Run(0.0, 0.0, right=10, nll=3.0)


def study(runs: dict[str, dict[float, Run]]) -> tuple[pd.DataFrame, Measured]:
    """Table and items of a study: label -> learning rate -> run, after θ0."""
    rows = [BASE.row("base", "base", NAN)]
    items: dict[Setting, list[Items]] = {("m", "d", "base", None): [scores(BASE.right, BASE.nll)]}
    costs = {}
    for label, of_label in runs.items():
        for rate, run in of_label.items():
            rows.append(run.row(label.split("-")[0], label, rate))
            items["m", "d", label, rate] = [scores(run.right, run.nll)]
            costs["m", "d", label, rate] = Cost(60.0, 2e9)
    return pd.DataFrame(rows, columns=OVER_SEEDS_COLUMNS), Measured(items, SUITE, costs)


def section_of(
    runs: dict[str, dict[float, Run]],
    tolerance: dict[str, float] = CODE_ONLY,
    smallest: dict[str, float] = GAIN,
) -> Section:
    (section,) = recommend(*study(runs), tolerance, smallest).sections
    return section


def method_of(section: Section, label: str) -> MethodResult:
    return next(method for method in section.methods if method.label == label)


SFT = {
    1e-5: Run(0.000, 0.002, right=30, nll=2.0),
    1e-4: Run(0.005, 0.002, right=60, nll=1.0),
    1e-3: Run(0.500, 0.020, right=90, nll=0.5),
}


# --- Choosing --------------------------------------------------------------------------------


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


def test_the_best_is_not_always_the_largest() -> None:
    """At 1e-4 the domain is learned less, and measurably: 30 of 100 right answers fewer."""
    runs = {1e-5: Run(0, 0.001, right=70, nll=1.5), 1e-4: Run(0, 0.001, right=40, nll=1.0)}
    section = section_of({"sft": runs})
    assert section.methods[0].largest == 1e-4
    assert section.chosen is not None and section.chosen.learning_rate == 1e-5


def test_what_accuracy_cannot_tell_apart_the_loss_decides() -> None:
    """61 and 60 right answers of 100 cannot be told apart; NLL 1.0 is below 1.5."""
    runs = {1e-5: Run(0, 0.001, right=61, nll=1.5), 1e-4: Run(0, 0.001, right=60, nll=1.0)}
    section = section_of({"sft": runs})
    assert section.chosen is not None and section.chosen.learning_rate == 1e-4


def test_the_loss_decides_where_accuracy_is_at_the_floor() -> None:
    """10 of 100 before, 11 after: no difference, so NLL decides, and the page says so."""
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


def test_another_method_has_to_be_measurably_better() -> None:
    """20 more of 100 right: 0.2 ± 1.9842 · 0.0402; 2 more: ± 0.037, the bound for 100 items."""
    better = section_of({"sft": SFT, "talr": {1e-4: Run(0, 0.001, right=80)}})
    assert better.chosen is not None and better.chosen.label == "talr"
    against = method_of(better, "talr").against_sft["accuracy"]
    assert (against.value, against.low) == pytest.approx((0.2, 0.2 - 1.98422 * 0.040202), abs=1e-5)
    assert any(n.startswith("talr gains more than sft") for n in notes(better, CODE_ONLY))

    equal = section_of({"sft": SFT, "talr": {1e-4: Run(0, 0.001, right=62)}})
    assert equal.chosen is not None and equal.chosen.label == "sft"
    (note,) = [n for n in notes(equal, CODE_ONLY) if n.startswith("talr")]
    # bound ln(40)/100: 100 · 0.0369/0.02 = 185; noise: 100 (0.02792/0.02)² = 195, rounded up
    assert note == (
        "talr cannot be distinguished from sft within the tolerance: difference +0.020 [−0.017, "
        "0.057] in domain accuracy (about 200 test items instead of 100 could tell)."
    )

    worse = section_of({"sft": SFT, "talr": {1e-4: Run(0, 0.001, right=40)}})
    assert worse.chosen is not None and worse.chosen.label == "sft"
    assert any(n.startswith("talr gains less than sft") for n in notes(worse, CODE_ONLY))


@pytest.mark.parametrize(("smallest", "chosen"), [(0.01, "talr"), (0.2, "sft")])
def test_a_gain_that_is_not_worth_having_changes_nothing(smallest: float, chosen: str) -> None:
    """NLL 0.9 instead of 1.0: ± 0.002, sure to be better, but for a gain of 0.2 nothing to take."""
    runs = {
        "sft": {1e-4: Run(0, 0.001, right=10)},
        "talr": {1e-4: Run(0, 0.001, right=10, nll=0.9)},
    }
    section = section_of(runs, smallest=GAIN | {"nll": smallest})
    assert section.measure == "nll"
    assert section.chosen is not None and section.chosen.label == chosen
    (note,) = [n for n in notes(section, CODE_ONLY) if n.startswith("talr")]
    assert (
        note
        == {
            "talr": "talr gains more than sft within the tolerance: difference +0.100 [0.098, "
            "0.102] in domain NLL.",
            "sft": "talr gains about as much as sft within the tolerance: difference +0.100 "
            "[0.098, 0.102] in domain NLL; it would have to exceed 0.2 to be worth having.",
        }[chosen]
    )


def test_equal_methods_are_not_recommended_for_nothing() -> None:
    """The same losses but for a millionth: no word of buying more."""
    losses = {"sft": 1.0, "flow": 1.0 - 1e-6}
    runs = {label: {1e-4: Run(0, 0.001, right=10, nll=nll)} for label, nll in losses.items()}
    section = section_of(runs)
    assert section.chosen is not None and section.chosen.label == "sft"
    assert (
        "flow gains about as much as sft within the tolerance: difference +0.000 [0.000, 0.000] in "
        "domain NLL; it would have to exceed 0.01 to be worth having."
    ) in notes(section, CODE_ONLY)


def test_a_method_that_exceeds_does_not_count() -> None:
    section = section_of({"sft": SFT, "talr": {1e-4: Run(0.5, 0.001, right=99)}})
    assert section.chosen is not None and section.chosen.label == "sft"
    assert method_of(section, "talr").best is None


def test_many_comparisons_need_wider_intervals() -> None:
    """Nine others at 0.05 / 9: t is 2.8350 instead of 1.9842 (99 degrees of freedom)."""
    gain = {1e-4: Run(0, 0.001, right=65)}
    one = section_of({"sft": SFT, "talr": gain}).methods[1].against_sft["accuracy"]
    many = section_of({"sft": SFT} | {f"talr-{i}": gain for i in range(9)})
    nine = many.methods[1].against_sft["accuracy"]
    assert (nine.value - nine.low) / (one.value - one.low) == pytest.approx(2.8350 / 1.98422, 1e-3)
    assert one.outcome is Outcome.BETTER and nine.outcome is Outcome.CANNOT_TELL
    assert many.chosen is not None and many.chosen.label == "sft"


def test_without_sft_the_method_that_gains_most() -> None:
    runs = {"talr": {1e-4: Run(0, 0.001, right=40)}, "dft": {1e-4: Run(0, 0.001, right=70)}}
    section = section_of(runs)
    assert section.chosen is not None and section.chosen.label == "dft"
    assert section.sft is None
    section = section_of({"sft": {1e-4: Run(0.5, 0.001)}} | runs)
    assert section.chosen is not None and section.chosen.label == "dft"
    assert notes(section, CODE_ONLY)[0].startswith("No run of sft both has all")


def test_nothing_learned_is_said() -> None:
    section = section_of({"sft": {1e-5: Run(0, 0.001, right=10, nll=3.0)}})
    assert "But its gain over θ₀ on the domain does not count" in headline(section, CODE_ONLY)


# --- Nothing to recommend --------------------------------------------------------------------


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


def test_no_general_suite() -> None:
    table, measured = study({"sft": SFT})
    for name in (CODE, "general_score_difference"):
        table[[name, f"{name}_low", f"{name}_high"]] = NAN
    found = recommend(table, measured._replace(suite={}), {}, GAIN)
    page = to_markdown(found)
    assert "measures no general ability" in page and "there is no general score" in page
    assert found.sections[0].chosen is None


def test_a_run_that_failed_is_named_with_its_reason() -> None:
    table, measured = study({"sft": SFT})
    lost = table["learning_rate"] == 1e-4
    numbers = [c for c in table.columns if c.startswith(("general", "domain_"))]
    table.loc[lost, numbers] = NAN
    table.loc[lost, "reason"] = "run not evaluated"
    items = {k: v for k, v in measured.items.items() if k[-1] != 1e-4}
    (section,) = recommend(table, measured._replace(items=items), CODE_ONLY, GAIN).sections
    assert section.chosen is not None and section.chosen.learning_rate == 1e-5
    assert "Scores are missing for sft at learning rate 1e-4: run not evaluated." in notes(
        section, CODE_ONLY
    )


# --- Edges of the grid -----------------------------------------------------------------------

IN, OUT, BEST = Run(0.0, 0.001), Run(0.5, 0.001), Run(0.0, 0.001, right=90)
LESS, OUT_BUT_MORE = Run(0.0, 0.001, right=30), Run(0.5, 0.001, right=90)
UNBOUNDED = "The largest learning rate tried is within the tolerance, so the limit is unknown"
ALL_EXCEED = "Even the smallest learning rate tried exceeds the tolerance"
BETWEEN = "The limit lies between two learning rates tried, and the larger one learned more"
SMALLEST_IS_BEST = "The smallest learning rate tried is the best within the tolerance"
OUT_BELOW_IN = (
    "exceeds the tolerance although 1e-4 is within it: noise or unstable training; look at its "
    "loss curve before you trust it"
)


@pytest.mark.parametrize(
    ("runs", "note"),
    [
        # next rate: the last step again, 1e-5 -> 1e-4 -> 1e-3
        ({1e-5: IN, 1e-4: IN}, f"{UNBOUNDED}; try sft at 1e-3."),
        ({1e-4: IN}, f"{UNBOUNDED}; try sft at 3e-4."),
        ({1e-4: OUT, 2e-4: OUT}, f"{ALL_EXCEED}; try sft at 5e-5."),
        # √(1e-5 · 1e-3) = 1e-4
        ({1e-5: IN, 1e-3: OUT_BUT_MORE}, f"{BETWEEN}; try sft at 1e-4."),
        ({1e-5: IN, 1e-3: OUT}, None),  # nothing to win beyond the limit
        ({1e-5: BEST, 1e-4: IN, 2e-4: OUT}, f"{SMALLEST_IS_BEST}; try sft at 1e-6 too."),
        ({1e-5: OUT, 1e-4: IN, 2e-4: OUT}, f"sft at learning rate 1e-5 {OUT_BELOW_IN}."),
        ({1e-5: LESS, 2e-5: IN, 4e-5: OUT}, None),
    ],
)
def test_edges_of_the_grid(runs: dict[float, Run], note: str | None) -> None:
    found = notes(section_of({"sft": runs}), CODE_ONLY)
    assert note in found if note else found == []


def test_no_rate_of_one_is_suggested() -> None:
    assert notes(section_of({"lora": {0.1: LESS, 0.5: IN}}), CODE_ONLY) == []


def test_methods_share_a_note() -> None:
    found = notes(
        section_of({name: {1e-5: IN, 1e-4: OUT_BUT_MORE} for name in ("sft", "talr")}), CODE_ONLY
    )
    assert sum("try sft at 3.2e-5, talr at 3.2e-5" in note for note in found) == 1


# --- Several measures ------------------------------------------------------------------------

LOST = {
    "general_score_difference": -0.2,
    "general_score_difference_low": -0.25,
    "general_score_difference_high": -0.15,
}


def test_a_loss_outside_the_tolerance_is_mentioned() -> None:
    section = section_of({"sft": {1e-5: Run(0, 0.001, **LOST), 2e-5: OUT}})
    assert section.chosen is not None
    assert notes(section, CODE_ONLY) == [
        "Measurable, but not limited by the tolerance: sft at learning rate 1e-5 loses 0.200 "
        "[0.150, 0.250] general accuracy; consider a tolerance for it too."
    ]
    both = CODE_ONLY | {"accuracy": 0.01}
    assert section_of({"sft": {1e-5: Run(0, 0.001, **LOST)}}, both).chosen is None


# --- Properties ------------------------------------------------------------------------------

rates = st.sampled_from([1e-6, 1e-5, 1e-4, 1e-3])
some_runs = st.builds(
    Run,
    code=st.floats(-0.1, 0.5),
    half=st.floats(1e-3, 0.1),
    right=st.sampled_from([5, 10, 12, 50, 90]),
    nll=st.sampled_from([0.5, 1.0, 3.0, 4.0]),
)
studies = st.dictionaries(
    st.sampled_from(["sft", "talr", "dft"]),
    st.dictionaries(rates, some_runs, min_size=1),
    min_size=1,
)
allowed = st.floats(0, 0.5)


@settings(max_examples=25)
@given(runs=studies, one=allowed, other=allowed)
def test_a_larger_tolerance_never_lowers_the_largest_rate(
    runs: dict[str, dict[float, Run]], one: float, other: float
) -> None:
    strict, lax = sorted([one, other])
    for label in runs:
        before = method_of(section_of(runs, {"bits_per_byte": strict}), label).largest
        after = method_of(section_of(runs, {"bits_per_byte": lax}), label).largest
        assert before is None or (after is not None and after >= before)


@settings(max_examples=25)
@given(runs=studies, limit=allowed)
def test_the_recommended_run_is_within_and_the_page_names_it(
    runs: dict[str, dict[float, Run]], limit: float
) -> None:
    found = recommend(*study(runs), {"bits_per_byte": limit}, GAIN)
    page, chosen = to_markdown(found), found.sections[0].chosen
    is_within = [run for of in runs.values() for run in of.values() if run.code + run.half <= limit]
    assert (chosen is None) == (not is_within)
    if chosen is not None:
        run = runs[chosen.label][chosen.learning_rate]
        assert run.code + run.half <= limit
        assert f"**Train with {chosen.label} at learning rate" in page
        largest = method_of(found.sections[0], chosen.label).largest
        assert largest is not None and chosen.learning_rate <= largest
    for line in page.splitlines():
        assert not re.search(r"\bnan\b|\bNone\b|\binf\b", line), line


@settings(max_examples=25)
@given(runs=studies, seed=st.integers(0, 10))
def test_the_order_of_the_rows_does_not_matter(
    runs: dict[str, dict[float, Run]], seed: int
) -> None:
    table, measured = study(runs)
    shuffled = table.sample(frac=1, random_state=seed)
    one, other = (recommend(t, measured, CODE_ONLY, GAIN).sections[0] for t in (table, shuffled))
    assert {m.label: m.largest for m in one.methods} == {m.label: m.largest for m in other.methods}
    assert {m.label: m.best for m in one.methods} == {m.label: m.best for m in other.methods}


# --- Page and command ------------------------------------------------------------------------


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


def test_the_parts_of_the_general_loss_are_shown() -> None:
    """News loses 0.1 bits per byte of 1, code gains 0.2 of 2, so the mean gains 0.05.

    Residuals of 1 %: se = 0.011 / √19 and 0.018 / √19, t = 2.0930 with 19 degrees of freedom.
    """
    table, measured = study({"sft": {1e-4: SFT[1e-4]}})
    bits = {"base": (1.0, 2.0), "sft": (1.1, 1.8)}
    for setting, seeds in measured.items.items():
        assert isinstance(seeds, list)
        for benchmark, value in zip(SUITE["m", "bits_per_byte"], bits[setting[2]], strict=True):
            noise = 0.01 * value if setting[2] == "sft" else 0.0
            values = [8 * (value + noise * (-1) ** i) for i in range(20)]
            frame = pd.DataFrame({"value": values, "size": [8.0] * 20})
            seeds[0] = seeds[0] | {(benchmark, "bits_per_byte"): frame}
    (section,) = recommend(table, measured, CODE_ONLY, GAIN).sections
    assert notes(section, CODE_ONLY)[0] == (
        "The general loss of sft at learning rate 1e-4 in bits per byte is the mean of: "
        "code_length_news 0.1000 [0.0947, 0.1053] (20 items), which alone exceeds the tolerance; "
        "code_length_code −0.2000 [−0.2086, −0.1914] (20 items)."
    )


def test_that_no_answer_of_the_model_before_training_counts_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note = "θ₀ has no correct answer."
    assert not any(note in text for text in notes(section_of({"sft": SFT}), CODE_ONLY))
    monkeypatch.setattr(sys.modules[__name__], "BASE", Run(0.0, 0.0, right=0, nll=3.0))
    assert any(note in text for text in notes(section_of({"sft": SFT}), CODE_ONLY))


RUNS = [
    ("m.base", "m", None, "base", "base", None, None),
    ("m.d.sft", "m", "d", "sft", "sft", 1e-4, 0),
    ("m.d.wise", "m", "d", "wise_ft", "wise", 1e-4, 0),
]
RUN_COLUMNS = ["run", "model", "domain", "method", "label", "learning_rate", "seed"]


def write_runs(folder: Path) -> Path:
    """Evaluations and costs of θ0, one trained run and its average with θ0."""
    suite = {("piqa", "acc_norm"): 3, ("piqa", "acc"): 3, ("code", "bits_per_byte"): 2}
    for run, *_ in RUNS:
        rows = [
            (benchmark, str(i), metric, 1.0, 1.0)
            for (benchmark, metric), n in (suite | {("d", "accuracy"): 4, ("d", "nll"): 4}).items()
            for i in range(n)
        ]
        (folder / run).mkdir(parents=True)
        frame = pd.DataFrame(rows, columns=["benchmark", "item", "metric", "value", "size"])
        frame.to_parquet(folder / run / "items.parquet")
        hashes = {b: hashlib.sha256(b.encode()).hexdigest() for b in ("piqa", "code", "d")}
        (folder / run / "eval.json").write_text(json.dumps({"meta_info": {"test_sha256": hashes}}))
    for run, time_s, peak, source in (("m.d.sft", 100.0, 5, None), ("m.d.wise", 2.0, 3, "m.d.sft")):
        report = {
            "train_info": {"time_s": time_s, "peak_memory_bytes": peak},
            "run_info": {"config": {"merge_of": source}},
        }
        (folder / run / "train.json").write_text(json.dumps(report))
    return folder


def test_what_is_read_from_the_runs(tmp_path: Path) -> None:
    """The average of weights cost its own 2 s and the 100 s of the run that it averages."""
    measured = read_measured(pd.DataFrame(RUNS, columns=RUN_COLUMNS), write_runs(tmp_path))
    assert measured.suite == {("m", "accuracy"): {"piqa": 3}, ("m", "bits_per_byte"): {"code": 2}}
    assert measured.costs["m", "d", "sft", 1e-4] == Cost(100, 5)
    assert measured.costs["m", "d", "wise", 1e-4] == Cost(102, 5)
    assert {setting for setting, seeds in measured.items.items() if len(seeds) == 1} == {
        ("m", "d", "base", None),
        ("m", "d", "sft", 1e-4),
        ("m", "d", "wise", 1e-4),
    }


def write_domain(path: Path, **settings: Any) -> None:
    """Settings of a domain in an evaluation's record."""
    record = json.loads(path.read_text())
    record["run_info"] = {"config": {"domains": [{"label": "d", **settings}]}}
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metric": "numeric", "tolerance": 0.05}, True),
        ({"metric": "numeric", "tolerance": 0.0}, False),
        ({"metric": "exact_match", "tolerance": 0.05}, False),  # which no other metric reads
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


def test_the_command_writes_page_and_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_domain(
        write_runs(tmp_path / "runs") / str(RUNS[0][0]) / "eval.json",
        metric="numeric",
        tolerance=0.05,
    )
    pd.DataFrame(RUNS, columns=RUN_COLUMNS).to_csv(tmp_path / "run_table.csv", index=False)
    rows = [
        BASE.row("base", "base", NAN),
        IN.row("sft", "sft", 1e-4),
        OUT.row("wise_ft", "wise", 1e-4),
    ]
    table = pd.DataFrame(rows, columns=OVER_SEEDS_COLUMNS)
    table.to_csv(tmp_path / "tradeoff.csv", index=False)
    paths = {
        "run-table": "run_table.csv",
        "runs": "runs",
        "tradeoff": "tradeoff.csv",
        "out": "r.md",
    }
    arguments = [x for name, path in paths.items() for x in (f"--{name}", str(tmp_path / path))]
    cli.main(["recommend", *arguments, "--smallest-gain=nll=0.2"])
    page = (tmp_path / "r.md").read_text()
    assert "**Train with sft at learning rate 1e-4.**" in page and "is at most 0.05." in page
    refuse = pytest.fail  # NaN and Infinity are no JSON
    record = json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
    assert record["tolerance"] == {"bits_per_byte": 0.01}
    assert record["smallest_gain"] == {"accuracy": 0.01, "nll": 0.2}
    assert record["sections"][0]["chosen"]["learning_rate"] == 1e-4
    assert record["sections"][0]["methods"][1]["candidates"][0]["verdict"] == "exceeds"
    assert set(record) == set(Recommendation.__dataclass_fields__)
