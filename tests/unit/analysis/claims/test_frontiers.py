"""Claims about whole methods: F3, N2 and N5, with hypervolumes computed by hand."""

from __future__ import annotations

import pytest

from tests.unit.analysis.claims.simulated import (
    LARGE,
    SMALL,
    Arms,
    Run,
    rows_of,
    study,
    value_of,
)


def frontier(arms: Arms, **options: object) -> list[tuple[str, bool]]:
    rows = rows_of(study(arms), "frontier_gain", 0.02, **options)
    return [(str(row.verdict), row.finding.detail) for row in rows]


def test_area_by_hand() -> None:
    """One rate each, in units of 1 · 0.1: 0.8 (0.1 − 0.02) − 0.5 (0.1 − 0.05) = 0.64 − 0.25."""
    arms = {"talr": {SMALL: Run(0.8, 0.02)}, "sft": {SMALL: Run(0.5, 0.05)}}
    area, at_the_rate = rows_of(study(arms), "frontier_gain", 0.02)
    assert value_of(area) == pytest.approx(0.39, abs=1e-3)
    assert area.finding.comparison == "frontier against sft"
    assert value_of(at_the_rate) == pytest.approx(0.03)
    assert value_of(at_the_rate, 1) == pytest.approx(0.3)
    assert frontier(arms) == [("supported", False), ("supported", True)]


def test_area_above_chance() -> None:
    """With four labels the area begins at 0.25: (0.55 · 0.8 − 0.25 · 0.5) / 0.75."""
    arms = {"talr": {SMALL: Run(0.8, 0.02)}, "sft": {SMALL: Run(0.5, 0.05)}}
    area, _ = rows_of(study(arms, n_labels=4), "frontier_gain", 0.02)
    assert value_of(area) == pytest.approx((0.55 * 0.8 - 0.25 * 0.5) / 0.75, abs=1e-3)


def test_at_the_same_rate_and_over_all_rates_can_disagree() -> None:
    """At the large rate talr keeps more; but sft is best at the small one, where talr fails."""
    arms = {
        "talr": {SMALL: Run(0.2, 0.0), LARGE: Run(0.5, 0.05)},
        "sft": {SMALL: Run(0.5, 0.0), LARGE: Run(0.5, 0.09)},
    }
    assert frontier(arms) == [
        ("contradicted", False),
        ("contradicted", True),
        ("supported", True),
    ]


def test_equal_methods_are_equivalent() -> None:
    same = {SMALL: Run(0.5, 0.01), LARGE: Run(0.6, 0.05)}
    verdicts = frontier({"talr": same, "sft": same})
    assert verdicts == [("equivalent", False), ("equivalent", True), ("equivalent", True)]


def test_two_frontiers_without_an_area_are_not_equivalent() -> None:
    """Both lose more than 0.1 bits per byte at every rate, so both areas are exactly 0."""
    arms = {"talr": {SMALL: Run(0.5, 0.2)}, "sft": {SMALL: Run(0.9, 0.4)}}
    area, _ = rows_of(study(arms), "frontier_gain", 0.02)
    assert (value_of(area), area.verdict) == (0.0, "cannot tell")
    assert area.note == "no run is above chance and loses less than 0.1 bits per byte"


def test_every_baseline_is_a_row() -> None:
    same = {SMALL: Run(0.5, 0.01)}
    rows = rows_of(study({"talr": same, "sft": same, "flow": same}), "frontier_gain", 0.02)
    main = [row.finding.comparison for row in rows if not row.finding.detail]
    assert main == ["frontier against sft", "frontier against flow"]


def test_as_many_rates_for_each() -> None:
    arms = {"talr": {SMALL: Run(), LARGE: Run()}, "sft": {SMALL: Run()}}
    row, _ = rows_of(study(arms), "frontier_gain", 0.02)
    assert row.note == "talr has 2 learning rates and sft 1; give both as many"


def test_seeds_that_differ_cannot_be_paired() -> None:
    arms = {"talr": {SMALL: Run()}, "sft": {SMALL: Run(seeds=(0.0, 0.0))}}
    for row in rows_of(study(arms), "frontier_gain", 0.02):
        assert row.verdict == "not tested"
        assert row.note.startswith("the seeds differ, so runs cannot be paired: ")
        assert "talr at 1e-5 has 0, 1, 2" in row.note and "sft at 1e-5 has 0, 1" in row.note


def test_other_options_are_other_methods() -> None:
    """TALR with τ = 1 is not the method that the claim speaks of."""
    same = {SMALL: Run()}
    results = study({"t1:talr": same, "sft": same}, options={"t1": {"tau": 1.0}})
    (row,) = rows_of(results, "frontier_gain")
    assert row.note == "no model and domain has both method 'talr' and another one"


@pytest.mark.parametrize(("code", "verdict"), [(0.0, "supported"), (0.09, "contradicted")])
def test_adapters_at_their_own_rates(code: float, verdict: str) -> None:
    """Other rates than sft's, so nothing is compared at the same rate."""
    arms = {"lora": {1e-3: Run(0.5, code)}, "sft": {SMALL: Run(0.5, 0.05)}}
    assert frontier(arms, method=None, against="sft") == [(verdict, False)]


@pytest.mark.parametrize(
    ("average", "verdict"),
    [
        (
            Run(0.6, 0.02),
            "supported",
        ),  # less loss than the large rate, more accuracy than the small
        (Run(0.3, 0.15), "contradicted"),  # behind both
        (Run(0.4, 0.0), "equivalent"),  # as good as the small rate, and no better
    ],
)
def test_an_average_that_no_rate_reaches(average: Run, verdict: str) -> None:
    arms = {
        "sft": {SMALL: Run(0.4, 0.0), LARGE: Run(0.6, 0.1)},
        "wise_ft": {LARGE: average},
    }
    (row,) = rows_of(study(arms), "rewind_reaches", 0.01)
    assert row.verdict == verdict


def test_without_an_average() -> None:
    (row,) = rows_of(study({"sft": {SMALL: Run()}}), "rewind_reaches", 0.01)
    assert row.note == "the study has no average of a run with θ₀ (method wise_ft)"
