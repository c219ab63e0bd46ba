"""θ0's mean probability of the training data: from its losses, beside a study's runs."""

import json
import math

import numpy as np
import pytest

from sft_tradeoff.analysis.base_probability import base_probability, summary_path, write_summary
from sft_tradeoff.system.files import DamagedFileError


def test_it_is_the_mean_over_tokens(tmp_path):
    path = summary_path(tmp_path / "runs", "m", "d")
    assert path == tmp_path / "reference/m/d.json"
    write_summary(path, -np.log(np.array([0.5, 0.25, 1.0, 0.05], dtype=np.float32)))
    assert base_probability(tmp_path / "runs", "m", "d") == pytest.approx(0.45)


def test_it_is_unknown_where_it_was_not_measured(tmp_path):
    assert math.isnan(base_probability(tmp_path / "runs", "m", "d"))


@pytest.mark.parametrize("content", [{}, [], {"mean_probability": 1.5}, {"mean_probability": "x"}])
def test_another_file_is_refused(tmp_path, content):
    path = summary_path(tmp_path / "runs", "m", "d")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match=r"d\.json: damaged \(mean_probability is .*delete"):
        base_probability(tmp_path / "runs", "m", "d")
