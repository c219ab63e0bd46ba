#!/usr/bin/env bash
# medcalc-bench 1.7.0: apache_ii adds the Glasgow Coma Score itself, although its own explanation says
# "use 15 - [GCS Score]", as the published score does. A fully awake patient (GCS 15) gets 12 points more than the
# same patient in deep coma (GCS 3), so answers and worked explanations made with this module rank severity
# the wrong way round.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder" 'medcalc-bench==1.7.0'
PYTHONPATH=$folder python3 - <<'PYTHON'
from medcalc.apache_ii import apache_ii_explanation

patient = {
    "age": (50, "years"),
    "temperature": (37.0, "degrees celsius"),
    "sys_bp": (120.0, "mm hg"),
    "dia_bp": (80.0, "mm hg"),
    "heart_rate": (80.0, "beats per minute"),
    "respiratory_rate": (16.0, "breaths per minute"),
    "sodium": (140.0, "mmol/L"),
    "potassium": (4.0, "mmol/L"),
    "creatinine": (1.0, "mg/dL"),
    "pH": 7.4,
    "hemocratit": (40, "%"),
    "wbc": (8000.0, "m^3"),
    "fio2": (21, "%"),
    "a_a_gradient": 10,
    "partial_pressure_oxygen": (90, "mm hg"),
    "acute_renal_failure": False,
    "chronic_renal_failure": False,
    "organ_failure_immunocompromise": False,
    "surgery_type": "Nonelective",
}
awake = apache_ii_explanation({**patient, "gcs": 15})
coma = apache_ii_explanation({**patient, "gcs": 3})
print("awake (GCS 15):", awake["Answer"], "| deep coma (GCS 3):", coma["Answer"])
assert "use 15 - [GCS Score]" in awake["Explanation"]
assert awake["Answer"] - coma["Answer"] == 12, "the coma score is no longer added as it is"
PYTHON
