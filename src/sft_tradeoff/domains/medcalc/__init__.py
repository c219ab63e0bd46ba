"""Medicine: calculators applied to a patient's note (MedCalc-Bench)."""
