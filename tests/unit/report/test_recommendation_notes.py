"""Notes of the recommendation."""

from __future__ import annotations

import pandas as pd
import pytest

from sft_tradeoff.analysis.recommendation import recommend
from sft_tradeoff.report.recommendation_notes import notes
from tests import recommended_runs
from tests.recommended_runs import (
    CODE_ONLY,
    GAIN,
    IN,
    LESS,
    LOST,
    NAN,
    OUT,
    SFT,
    SUITE,
    Run,
    method_of,
    section_of,
    study,
)

BEST, OUT_BUT_MORE = Run(0.0, 0.001, right=90), Run(0.5, 0.001, right=90)
UNBOUNDED = "The largest learning rate tried is within the tolerance, so the limit is unknown"
ALL_EXCEED = "Even the smallest learning rate tried exceeds the tolerance"
BETWEEN = "The limit lies between two learning rates tried, and the larger one learned more"
SMALLEST_IS_BEST = "The smallest learning rate tried is the best within the tolerance"
BEYOND = "is within the tolerance, but does not count because"
UNSTABLE = "noise or unstable training; look at the loss curves."
UNCLEAR = Run(0.005, 0.01)


def test_another_method_has_to_be_measurably_better() -> None:
    """20 more of 100 correct: 0.2 ± 1.9842 · 0.0402; 2 more: ± 0.037, the bound for 100 items."""
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
    """NLL 0.9 instead of 1.0: ± 0.002, significant, but less than a smallest gain of 0.2."""
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
    """Losses that differ by a millionth: the note does not say that one gains more."""
    losses = {"sft": 1.0, "flow": 1.0 - 1e-6}
    runs = {label: {1e-4: Run(0, 0.001, right=10, nll=nll)} for label, nll in losses.items()}
    section = section_of(runs)
    assert section.chosen is not None and section.chosen.label == "sft"
    assert (
        "flow gains about as much as sft within the tolerance: difference +0.000 [0.000, 0.000] in "
        "domain NLL; it would have to exceed 0.01 to be worth having."
    ) in notes(section, CODE_ONLY)


def test_without_sft_the_method_that_gains_most() -> None:
    runs = {"talr": {1e-4: Run(0, 0.001, right=40)}, "dft": {1e-4: Run(0, 0.001, right=70)}}
    section = section_of(runs)
    assert section.chosen is not None and section.chosen.label == "dft"
    assert section.sft is None
    section = section_of({"sft": {1e-4: Run(0.5, 0.001)}} | runs)
    assert section.chosen is not None and section.chosen.label == "dft"
    assert notes(section, CODE_ONLY)[0].startswith("No run of sft both has all")


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


def test_a_rate_without_a_score_ends_the_search() -> None:
    table, measured = study({"sft": {1e-6: IN, 1e-5: IN, 1e-4: IN}})
    lost = table["learning_rate"] == 1e-5
    table.loc[lost, [c for c in table.columns if c.startswith("general")]] = NAN
    table.loc[lost, "reason"] = "run not evaluated"
    (section,) = recommend(table, measured, CODE_ONLY, GAIN).sections
    found = notes(section, CODE_ONLY)
    assert (
        f"sft at learning rate 1e-4 {BEYOND} 1e-5 cannot be judged: it has no score; look at the "
        "loss curves."
    ) in found
    assert not any("the limit is unknown" in note for note in found)


@pytest.mark.parametrize(
    ("runs", "note"),
    [
        # next rate: the last step again, 1e-5 -> 1e-4 -> 1e-3
        ({1e-5: IN, 1e-4: IN}, f"{UNBOUNDED}; try sft at 1e-3."),
        ({1e-4: IN}, f"{UNBOUNDED}; try sft at 3e-4."),
        ({1e-4: OUT, 2e-4: OUT}, f"{ALL_EXCEED}; try sft at 5e-5."),
        # √(1e-5 · 1e-3) = 1e-4
        ({1e-5: IN, 1e-3: OUT_BUT_MORE}, f"{BETWEEN}; try sft at 1e-4."),
        ({1e-5: IN, 1e-3: OUT}, None),  # nothing to gain beyond the limit
        ({1e-5: BEST, 1e-4: IN, 2e-4: OUT}, f"{SMALLEST_IS_BEST}; try sft at 1e-6 too."),
        (
            {1e-6: IN, 1e-5: OUT, 1e-4: IN, 2e-4: OUT},
            f"sft at learning rate 1e-4 {BEYOND} 1e-5 exceeds it: {UNSTABLE}",
        ),
        (
            {1e-5: UNCLEAR, 1e-4: IN},
            f"sft at learning rate 1e-4 {BEYOND} 1e-5 cannot be judged: {UNSTABLE}",
        ),
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


def test_a_loss_outside_the_tolerance_is_mentioned() -> None:
    section = section_of({"sft": {1e-5: Run(0, 0.001, **LOST), 2e-5: OUT}})
    assert section.chosen is not None
    assert notes(section, CODE_ONLY) == [
        "Measurable, but not limited by the tolerance: sft at learning rate 1e-5 loses 0.200 "
        "[0.150, 0.250] general accuracy; consider a tolerance for it too."
    ]
    both = CODE_ONLY | {"accuracy": 0.01}
    assert section_of({"sft": {1e-5: Run(0, 0.001, **LOST)}}, both).chosen is None


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
    monkeypatch.setattr(recommended_runs, "BASE", Run(0.0, 0.0, right=0, nll=3.0))
    assert any(note in text for text in notes(section_of({"sft": SFT}), CODE_ONLY))
