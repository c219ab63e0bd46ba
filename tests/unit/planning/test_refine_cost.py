"""What refinement can add to the cost of a study."""

from __future__ import annotations

from sft_tradeoff.planning.refine_cost import refinement_text

OWN = {"n_trained": 2, "n_averaged": 1, "training": 1.0, "evaluation": 0.5}
MOST = {"n_trained": 10, "n_averaged": 5, "training": 5.0, "evaluation": 2.5}


def test_the_difference_is_summed_over_models() -> None:
    text = refinement_text([OWN, OWN], [MOST, MOST])
    assert "16 runs (8 averages), 8.0 GPU-h of training and 4.0 of evaluation" in text
