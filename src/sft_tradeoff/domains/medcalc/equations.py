"""MedCalc-Bench's laboratory and physical calculators: their questions and patients.

Left out, because the package's text and answer disagree or the unit is wrong: QTc Fridericia
(prints a square root, not the cube root), QTc Framingham (prints a division, not the sum), serum
osmolality (prints BUN, not glucose). Drawn only where they are right: CKD-EPI (men up to 0.9 mg/dL
get the women's constant), maintenance fluids (above 20 kg the text doubles the rate), HOMA-IR
(insulin in pmol/L is multiplied, not divided). Concentrations are given in the formula's unit: the
package's conversions round moles to three decimals, an error of 10 % and more. Left out for their
length: Cockcroft-Gault, MELD-Na, Framingham risk, albumin-corrected delta gap
and delta ratio. Not in the package: target weight (does not import), delta ratio.
"""

from __future__ import annotations

import random
from typing import Any

from sft_tradeoff.domains.medcalc.calculators import Calculator
from sft_tradeoff.domains.medcalc.patients import (
    Case,
    Fact,
    Measure,
    Patient,
    draw_patient,
    measured_case,
    tenths,
)

_CHECK_UP = ("a routine check-up", "follow-up of hypertension", "a health assessment at work")
_UNWELL = ("fatigue and nausea", "vomiting for two days", "weakness", "malaise")
_KIDNEY = ("follow-up of kidney function", "ankle swelling", "a medication review")
_WEIGHT = ("nutrition counselling", "a routine check-up", "dosing of a new medicine")
_HEART = ("palpitations", "a review of heart medicines", "dizziness")


def _age_and_sex(patient: Patient) -> dict[str, Any]:
    return {"age": (patient.age, "years"), "sex": patient.sex}


def _draw_body(
    rng: random.Random, patient: Patient, lowest_bmi: float = 18.5, highest_bmi: float = 38
) -> dict[str, tuple[Any, ...]]:
    """Draw a plausible height and weight, each in a unit that the package converts."""
    cm = rng.randint(162, 194) if patient.sex == "Male" else rng.randint(153, 178)
    kg = tenths(rng, lowest_bmi, highest_bmi) * (cm / 100) ** 2
    feet, inches = divmod(round(cm / 2.54), 12)
    heights = ((cm, "cm"), (cm / 100, "m"), (12 * feet + inches, "in"), (feet, "ft", inches, "in"))
    return {"weight": _draw_weight_unit(rng, kg), "height": rng.choice(heights)}


def _draw_weight_unit(rng: random.Random, kg: float) -> tuple[float, str]:
    return rng.choice(((round(kg, 1), "kg"), (round(kg / 0.453592), "lbs")))


def _draw_anion_gap_inputs(rng: random.Random) -> dict[str, tuple[int, str]]:
    """Draw electrolytes with an anion gap between 4 and 24 mEq/L."""
    sodium, chloride = rng.randint(132, 146), rng.randint(95, 110)
    difference = sodium - chloride
    bicarbonate = rng.randint(max(8, difference - 24), min(32, difference - 4))
    return {
        "sodium": (sodium, "mEq/L"),
        "chloride": (chloride, "mEq/L"),
        "bicarbonate": (bicarbonate, "mEq/L"),
    }


def _bmi(rng: random.Random) -> Case:
    patient = draw_patient(rng, 18, 85)
    return measured_case(patient, **_draw_body(rng, patient))


def _ideal_weight(rng: random.Random) -> Case:
    patient = draw_patient(rng, 18, 85)
    body = _draw_body(rng, patient)
    return measured_case(patient, sex=patient.sex, height=body["height"])


def _adjusted_weight(rng: random.Random) -> Case:
    patient = draw_patient(rng, 18, 85)
    return measured_case(
        patient, sex=patient.sex, **_draw_body(rng, patient, lowest_bmi=27, highest_bmi=45)
    )


def _maintenance_fluid(rng: random.Random) -> Case:
    """Draw an infant or small child: up to 20 kg the package's text and answer agree."""
    sex = rng.choice(("Male", "Female"))
    if rng.random() < 0.5:
        months = rng.randint(3, 11)
        patient, kg = Patient(sex, 0, months), 5.5 + 0.35 * months + rng.uniform(-1, 1)
    else:
        years = rng.randint(1, 5)
        patient, kg = Patient(sex, years), 8 + 2 * years + rng.uniform(-1.5, 1.5)
    return measured_case(patient, weight=_draw_weight_unit(rng, kg))


def _blood_pressure(rng: random.Random) -> Case:
    patient = draw_patient(rng, 18, 90)
    diastolic = rng.randint(50, 105)
    systolic = diastolic + rng.randint(25, 75)
    together: tuple[Fact, ...] = (Measure("blood pressure|BP", f"{systolic}/{diastolic} mm Hg"),)
    apart = (
        Measure("systolic blood pressure", f"{systolic} mm Hg"),
        Measure("diastolic blood pressure", f"{diastolic} mm Hg"),
    )
    inputs = {"sys_bp": (systolic, "mm hg"), "dia_bp": (diastolic, "mm hg")}
    return Case(patient, inputs, rng.choice((together, apart)))


def _ecg(rng: random.Random) -> Case:
    """Draw a QT interval that fits the heart rate: a Bazett QTc between 370 and 490 msec."""
    heart_rate = rng.randint(50, 118)
    qt_interval = 2 * round(rng.uniform(370, 490) * (60 / heart_rate) ** 0.5 / 2)
    return measured_case(
        draw_patient(rng, 18, 88),
        heart_rate=(heart_rate, "beats per minute"),
        qt_interval=(qt_interval, "msec"),
    )


def _ckd_epi(rng: random.Random) -> Case:
    patient = draw_patient(rng, 20, 90)
    lowest = 1.0 if patient.sex == "Male" else 0.5
    return measured_case(
        patient, **_age_and_sex(patient), creatinine=(tenths(rng, lowest, 4.5), "mg/dL")
    )


def _mdrd(rng: random.Random) -> Case:
    patient = draw_patient(rng, 20, 90)
    return measured_case(
        patient, **_age_and_sex(patient), creatinine=(tenths(rng, 0.6, 6.0), "mg/dL")
    )


def _calcium(rng: random.Random) -> Case:
    return measured_case(
        draw_patient(rng, 25, 90),
        albumin=(tenths(rng, 1.6, 3.8), "g/dL"),
        calcium=(tenths(rng, 6.8, 10.4), "mg/dL"),
    )


def _fibrosis_4(rng: random.Random) -> Case:
    patient = draw_patient(rng, 30, 80)
    platelets = rng.randint(70, 380)
    inputs = {
        "age": (patient.age, "years"),
        "ast": (rng.randint(16, 180), "U/L"),
        "alt": (rng.randint(14, 190), "U/L"),
    }
    case = measured_case(patient, **inputs)
    count = Measure("platelet count", f"{platelets},000/µL|{platelets}000 per µL")
    inputs["platelet_count"] = (platelets * 1000, "µL")
    return Case(patient, inputs, (*case.facts, count))


def _sodium_correction(rng: random.Random) -> Case:
    return measured_case(
        draw_patient(rng, 20, 80),
        sodium=(rng.randint(120, 138), "mEq/L"),
        glucose=(rng.randint(240, 880), "mg/dL"),
    )


def _homa_ir(rng: random.Random) -> Case:
    return measured_case(
        draw_patient(rng, 18, 75),
        insulin=(tenths(rng, 2.5, 38), "µIU/mL"),
        glucose=(rng.randint(72, 170), "mg/dL"),
    )


def _free_water_deficit(rng: random.Random) -> Case:
    patient = draw_patient(rng, 18, 90)
    return measured_case(
        patient,
        **_age_and_sex(patient),
        weight=_draw_body(rng, patient, highest_bmi=34)["weight"],
        sodium=(rng.randint(146, 168), "mmol/L"),
    )


def _anion_gap(rng: random.Random) -> Case:
    return measured_case(draw_patient(rng, 18, 88), **_draw_anion_gap_inputs(rng))


def _corrected_anion_gap(rng: random.Random) -> Case:
    albumin = (tenths(rng, 1.8, 4.6), "g/dL")
    return measured_case(draw_patient(rng, 18, 88), **_draw_anion_gap_inputs(rng), albumin=albumin)


def _sodium_excretion(rng: random.Random) -> Case:
    return measured_case(
        draw_patient(rng, 25, 88),
        sodium=(rng.randint(128, 146), "mEq/L"),
        creatinine=(tenths(rng, 1.2, 5.5), "mg/dL"),
        urine_sodium=(rng.randint(8, 110), "mEq/L"),
        urine_creatinine=(rng.randint(25, 190), "mg/dL"),
    )


def _ldl(rng: random.Random) -> Case:
    hdl, triglycerides = rng.randint(30, 75), rng.randint(60, 300)
    total = rng.randint(60, 190) + hdl + triglycerides // 5
    return measured_case(
        draw_patient(rng, 25, 80),
        total_cholestrol=(total, "mg/dL"),
        hdl_cholestrol=(hdl, "mg/dL"),
        triglycerides=(triglycerides, "mg/dL"),
    )


_ASK_GFR = "glomerular filtration rate (GFR) in mL/min/1.73 m²?"
_ASK_QTC = "corrected QT interval (QTc) in msec?"
EQUATIONS = (
    Calculator(
        3,
        "CKD-EPI Equations for Glomerular Filtration Rate",
        "ckd_epi_2021_creatinine:ckd_epi_2021_explanation",
        f"By the 2021 CKD-EPI creatinine equation, what is the patient's {_ASK_GFR}",
        _KIDNEY,
        _ckd_epi,
    ),
    Calculator(
        5,
        "Mean Arterial Pressure (MAP)",
        "mean_arterial_pressure:mean_arterial_pressure_explanation",
        "What is the patient's mean arterial pressure in mm Hg?",
        _CHECK_UP,
        _blood_pressure,
    ),
    Calculator(
        6,
        "Body Mass Index (BMI)",
        "bmi_calculator:bmi_calculator_explanation",
        "What is the patient's body mass index (BMI) in kg/m²?",
        _WEIGHT,
        _bmi,
    ),
    Calculator(
        7,
        "Calcium Correction for Hypoalbuminemia",
        "calcium_correction:calculate_corrected_calcium_explanation",
        "What is the patient's calcium corrected for albumin (normal albumin 4 g/dL), in mg/dL?",
        _UNWELL,
        _calcium,
    ),
    Calculator(
        9,
        "MDRD GFR Equation",
        "mdrd_gfr:mrdr_gfr_explanation",
        f"By the MDRD equation, what is the patient's {_ASK_GFR}",
        _KIDNEY,
        _mdrd,
    ),
    Calculator(
        10,
        "Ideal Body Weight",
        "ideal_body_weight:ibw_explanation",
        "What is the patient's ideal body weight in kg?",
        _WEIGHT,
        _ideal_weight,
    ),
    Calculator(
        11,
        "QTc Bazett Calculator",
        "qt_calculator_bazett:bazett_calculator_explanation",
        f"By the Bazett formula, what is the patient's {_ASK_QTC}",
        _HEART,
        _ecg,
    ),
    Calculator(
        19,
        "Fibrosis-4 (FIB-4) Index for Liver Fibrosis",
        "fibrosis_4:compute_fib4_explanation",
        "What is the patient's Fibrosis-4 index?",
        ("follow-up of fatty liver", "abnormal liver tests", "fatigue"),
        _fibrosis_4,
    ),
    Calculator(
        22,
        "Maintenance Fluids Calculations",
        "maintenance_fluid_calc:maintenance_fluid_explanation",
        "What is the patient's maintenance fluid in mL/hr?",
        ("poor drinking", "observation after vomiting", "admission before minor surgery"),
        _maintenance_fluid,
    ),
    Calculator(
        26,
        "Sodium Correction for Hyperglycemia",
        "sch:compute_sodium_correction_hyperglycemia_explanation",
        "What is the patient's sodium corrected for hyperglycemia (Hillier, 1999) in mEq/L?",
        ("thirst and frequent urination", "high blood glucose", "weakness"),
        _sodium_correction,
    ),
    Calculator(
        31,
        "HOMA-IR (Homeostatic Model Assessment for Insulin Resistance)",
        "homa_ir:compute_homa_ir_explanation",
        "What is the patient's HOMA-IR score?",
        ("weight gain", "evaluation of prediabetes", "a metabolic check-up"),
        _homa_ir,
    ),
    Calculator(
        38,
        "Free Water Deficit",
        "free_water_deficit:free_water_deficit_explanation",
        "What is the patient's free water deficit in L, for a target sodium of 140 mmol/L?",
        ("thirst and confusion", "dehydration", "weakness after days of diarrhea"),
        _free_water_deficit,
    ),
    Calculator(
        39,
        "Anion Gap",
        "anion_gap:compute_anion_gap_explanation",
        "What is the patient's anion gap in mEq/L?",
        _UNWELL,
        _anion_gap,
    ),
    Calculator(
        40,
        "Fractional Excretion of Sodium (FENa)",
        "compute_fena:compute_fena_explanation",
        "What is the patient's fractional excretion of sodium (FENa) in percent?",
        ("low urine output", "acute kidney injury", "rising creatinine"),
        _sodium_excretion,
    ),
    Calculator(
        44,
        "LDL Calculated",
        "ldl_calculated:compute_ldl_explanation",
        "What is the patient's calculated LDL cholesterol in mg/dL?",
        _CHECK_UP,
        _ldl,
    ),
    Calculator(
        58,
        "QTc Hodges Calculator",
        "qt_calculator_hodges:hodges_calculator_explanation",
        f"By the Hodges formula, what is the patient's {_ASK_QTC}",
        _HEART,
        _ecg,
    ),
    Calculator(
        59,
        "QTc Rautaharju Calculator",
        "qt_calculator_rautaharju:rautaharju_calculator_explanation",
        f"By the Rautaharju formula, what is the patient's {_ASK_QTC}",
        _HEART,
        _ecg,
    ),
    Calculator(
        60,
        "Body Surface Area Calculator",
        "bsa_calculator:bsa_calculator_explaination",
        "What is the patient's body surface area in m²?",
        _WEIGHT,
        _bmi,
    ),
    Calculator(
        62,
        "Adjusted Body Weight",
        "adjusted_body_weight:abw_explanation",
        "What is the patient's adjusted body weight in kg?",
        _WEIGHT,
        _adjusted_weight,
    ),
    Calculator(
        63,
        "Delta Gap",
        "delta_gap:compute_delta_gap_explanation",
        "What is the patient's delta gap in mEq/L?",
        _UNWELL,
        _anion_gap,
    ),
    Calculator(
        65,
        "Albumin Corrected Anion Gap",
        "albumin_corrected_anion:compute_albumin_corrected_anion_explanation",
        "What is the patient's albumin-corrected anion gap in mEq/L?",
        _UNWELL,
        _corrected_anion_gap,
    ),
)
