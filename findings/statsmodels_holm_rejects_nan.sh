#!/usr/bin/env bash
# statsmodels 0.15.0: multipletests with method "holm" or "holm-sidak" rejects a hypothesis whose p value is NaN
# if it rejects all others: a test that could not be computed counts as significant. With "simes-hochberg",
# "hommel" and the FDR methods one NaN makes every corrected p value NaN. Nothing says so; scipy's
# false_discovery_control refuses the same input.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  'statsmodels==0.15.0' 'scipy==1.17.1' 'numpy==2.4.6'
"$folder/venv/bin/python" -W error - <<'PYTHON'
import numpy as np
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

p = np.array([0.001, 0.002, np.nan])
for method in ("bonferroni", "holm", "holm-sidak", "simes-hochberg", "hommel", "fdr_bh", "fdr_by"):
    reject, corrected, *_ = multipletests(p, method=method)
    print(f"{method:15} reject: {reject}  corrected: {corrected.round(4)}")
    assert bool(reject[2]) == method.startswith("holm"), "this has changed"
    one_step = method in ("bonferroni", "holm", "holm-sidak")
    assert np.isnan(corrected).tolist() == [not one_step, not one_step, True], "this has changed"
assert not multipletests([0.001, 0.9, np.nan], method="holm")[0][2]
try:
    false_discovery_control(p)
    raise SystemExit("scipy accepts NaN now")
except ValueError as error:
    print("scipy:", error)
PYTHON
