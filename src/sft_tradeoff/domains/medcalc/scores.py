"""MedCalc-Bench's risk scores, doses and dates: their questions and patients.

Left out, because the package's text and answer disagree: SIRS (a heart rate below 90 counts as a
point), CURB-65 (the text calls every respiratory rate greater than 30), APACHE II (adds the coma
score itself), fentanyl in the morphine equivalents (two spellings of the patch, one without a
unit). Drawn only where they are right: due date (for a short cycle the text says subtract, but it
adds), Child-Pugh (nothing is added for a bilirubin of exactly 2 mg/dL; 3 mg/dL and an albumin of
2.8 g/dL count as worse than the criteria say), Glasgow coma scale ("not testable" speech loses a
point). Left out for their length: CHA2DS2-VASc, HAS-BLED, HEART, Wells (both), PERC,
Glasgow-Blatchford, Charlson, Caprini, PSI, SOFA.
"""

from __future__ import annotations

import random
from datetime import date, timedelta

from sft_tradeoff.domains.medcalc.calculators import Calculator
from sft_tradeoff.domains.medcalc.grading import DATE_FORMAT
from sft_tradeoff.domains.medcalc.patients import Case, Fact, Measure, Patient, draw_patient, tenths

_THROAT = ("a sore throat", "painful swallowing")
_SURGERY = {
    True: (
        "{They} is scheduled for elective repair of an abdominal aortic aneurysm",
        "{They} will have an open colectomy",
        "A lung lobectomy is planned",
    ),
    False: (
        "{They} is scheduled for cataract surgery",
        "{They} will have a knee arthroscopy",
        "A carpal tunnel release is planned",
    ),
}
_STEROIDS = {  # doses in mg
    "Cortisone PO": (25, 37.5, 50),
    "Dexamethasone IV": (2, 4, 6, 8),
    "Dexamethasone PO": (0.75, 1.5, 4, 6),
    "Hydrocortisone IV": (50, 100, 150),
    "Hydrocortisone PO": (10, 15, 20, 30),
    "MethylPrednisoLONE IV": (40, 60, 80, 125),
    "MethylPrednisoLONE PO": (4, 8, 16, 24, 32),
    "PrednisoLONE PO": (5, 10, 15, 20, 30, 40),
    "PredniSONE PO": (5, 7.5, 10, 20, 40, 60),
    "Triamcinolone IV": (4, 8, 12),
}
_OPIOIDS = {  # doses in mg
    "Codeine": (15, 30, 60),
    "HYDROcodone": (5, 7.5, 10),
    "HYDROmorphone": (2, 4, 8),
    "Methadone": (5, 10),
    "Morphine": (10, 15, 30),
    "OxyCODONE": (5, 10, 15),
    "OxyMORphone": (5, 10),
    "Tapentadol": (50, 75, 100),
    "TraMADol": (50, 100),
}
_EYES = {
    "eyes open spontaneously": "{Their} eyes open spontaneously.",
    "eye opening to verbal command": "{They} opens {their} eyes to verbal command.",
    "eye opening to pain": "{They} opens {their} eyes only to pain.",
    "no eye opening": "{They} does not open {their} eyes.",
}
_SPEECH = {
    "oriented": "{They} is oriented and converses.",
    "confused": "{Their} speech is confused.",
    "inappropriate words": "{They} utters inappropriate words.",
    "incomprehensible sounds": "{They} makes incomprehensible sounds only.",
    "no verbal response": "{They} gives no verbal response.",
}
_MOVEMENT = {
    "obeys commands": "{They} obeys commands.",
    "localizes pain": "{They} localizes pain.",
    "withdrawal from pain": "{They} withdraws from pain.",
    "flexion to pain": "Pain causes abnormal flexion.",
    "extension to pain": "Pain causes extension.",
    "no motor response": "There is no motor response.",
}
_ASCITES = {
    "Absent": "There is no ascites.|Ultrasound shows no ascites.",
    "Slight": "Ultrasound shows slight ascites.|There is slight ascites.",
    "Moderate": "There is moderate ascites.|Ultrasound shows moderate ascites.",
}
_ENCEPHALOPATHY = {
    "No Encephalopathy": "There is no encephalopathy.|{They} shows no signs of encephalopathy.",
    "Grade 1-2": "There is grade 1 encephalopathy.|There is grade 2 encephalopathy.",
    "Grade 3-4": "There is grade 3 encephalopathy.|There is grade 4 encephalopathy.",
}


def _flip(rng: random.Random) -> bool:
    return rng.random() < 0.5


def _child_pugh(rng: random.Random) -> Case:
    bilirubin, albumin, inr = tenths(rng, 0.6, 5.8), tenths(rng, 2.0, 4.4), tenths(rng, 1.0, 3.0)
    while bilirubin in (2.0, 3.0) or albumin == 2.8:  # where the package leaves the criteria
        bilirubin, albumin = tenths(rng, 0.6, 5.8), tenths(rng, 2.0, 4.4)
    ascites, encephalopathy = rng.choice(list(_ASCITES)), rng.choice(list(_ENCEPHALOPATHY))
    inputs = {
        "inr": inr,
        "bilirubin": (bilirubin, "mg/dL"),
        "albumin": (albumin, "g/dL"),
        "ascites": ascites,
        "encephalopathy": encephalopathy,
    }
    facts = (
        Measure("INR", str(inr)),
        Measure("bilirubin|total bilirubin", f"{bilirubin} mg/dL"),
        Measure("albumin|serum albumin", f"{albumin} g/dL"),
        _ASCITES[ascites],
        _ENCEPHALOPATHY[encephalopathy],
    )
    return Case(draw_patient(rng, 30, 80), inputs, facts)


def _cardiac_risk(rng: random.Random) -> Case:
    surgery, ischemia, failure, stroke = (_flip(rng) for _ in range(4))
    insulin = rng.random() < 0.3
    creatinine = tenths(rng, 0.7, 3.2)
    inputs = {
        "elevated_risk_surgery": surgery,
        "ischemetic_heart_disease": ischemia,
        "congestive_heart_failure": failure,
        "cerebrovascular_disease": stroke,
        "pre_operative_insulin_treatment": insulin,
        "pre_operative_creatinine": (creatinine, "mg/dL"),
    }
    history = {
        "ischemic heart disease": ischemia,
        "congestive heart failure": failure,
        "cerebrovascular disease": stroke,
    }
    facts: tuple[Fact, ...] = (
        f"{rng.choice(_SURGERY[surgery])}.",
        *_history(history),
        "{They} uses insulin." if insulin else "{They} does not use insulin.",
        Measure("creatinine|pre-operative creatinine", f"{creatinine} mg/dL"),
    )
    return Case(draw_patient(rng, 45, 85), inputs, facts)


def _history(conditions: dict[str, bool]) -> list[str]:
    """State which conditions the patient has had and which not, in at most two sentences."""
    present = [name for name, had in conditions.items() if had]
    absent = [name for name, had in conditions.items() if not had]
    sentences = [f"{{They}} has a history of {_listed(present, 'and')}."] if present else []
    if absent:
        sentences.append(f"{{They}} has no history of {_listed(absent, 'or')}.")
    return sentences


def _listed(names: list[str], conjunction: str) -> str:
    return f" {conjunction} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _centor(rng: random.Random) -> Case:
    patient = draw_patient(rng, 4, 70)
    celsius = tenths(rng, 36.5, 39.8)
    degrees, unit = rng.choice(
        ((celsius, "celsius"), (round(celsius * 9 / 5 + 32, 1), "fahrenheit"))
    )
    exudate, nodes, no_cough = _flip(rng), _flip(rng), _flip(rng)
    inputs = {
        "age": (patient.age, "years"),
        "temperature": (degrees, f"degrees {unit}"),
        "exudate_swelling_tonsils": exudate,
        "tender_lymph_nodes": nodes,
        "cough_absent": no_cough,
    }
    facts = (
        Measure("temperature", f"{degrees} °{unit[0].upper()}|{degrees} degrees {unit.title()}"),
        "The tonsils are swollen with exudate.|There is exudate on swollen tonsils."
        if exudate
        else "There is no exudate or swelling of the tonsils.|The tonsils look normal.",
        "The anterior cervical lymph nodes are tender.|There are tender anterior cervical nodes."
        if nodes
        else "The anterior cervical lymph nodes are normal.|The neck nodes are normal.",
        "{They} has no cough.|There is no cough."
        if no_cough
        else "{They} has a cough.|{They} coughs.",
    )
    return Case(patient, inputs, facts)


def _feverpain(rng: random.Random) -> Case:
    fever, no_cough, early, pus, inflamed = (_flip(rng) for _ in range(5))
    days = rng.randint(1, 3) if early else rng.randint(4, 9)
    inputs = {
        "fever_24_hours": fever,
        "cough_coryza_absent": no_cough,
        "symptom_onset": early,
        "purulent_tonsils": pus,
        "severe_tonsil_inflammation": inflamed,
    }
    facts = (
        "{They} had a fever within the past 24 hours."
        if fever
        else "{They} had no fever in the past 24 hours.",
        "There is no cough or coryza." if no_cough else "{They} has a cough and coryza.",
        f"Symptoms began {days} day{'s' * (days > 1)} ago.",
        "The tonsils are purulent." if pus else "There is no pus on the tonsils.",
        "The tonsils are severely inflamed." if inflamed else "Tonsil inflammation is mild.",
    )
    return Case(draw_patient(rng, 6, 60), inputs, facts)


def _coma_scale(rng: random.Random) -> Case:
    """Draw three responses of similar depth: nobody talks while motionless."""
    depth = rng.random()
    eyes, speech, movement = (_near(rng, depth, list(x)) for x in (_EYES, _SPEECH, _MOVEMENT))
    inputs = {
        "best_eye_response": eyes,
        "best_verbal_response": speech,
        "best_motor_response": movement,
    }
    facts = (_EYES[eyes], _SPEECH[speech], _MOVEMENT[movement])
    return Case(draw_patient(rng, 16, 88), inputs, facts)


def _near(rng: random.Random, depth: float, levels: list[str]) -> str:
    place = round(depth * (len(levels) - 1)) + rng.choice((-1, 0, 0, 1))
    return levels[min(max(place, 0), len(levels) - 1)]


def _steroid(rng: random.Random) -> Case:
    given = rng.choice(list(_STEROIDS))
    others = [name for name in _STEROIDS if name.split()[0] != given.split()[0]]
    target, dose = rng.choice(others), rng.choice(_STEROIDS[given])
    inputs = {"input steroid": (given, dose, "mg"), "target steroid": target}
    verb = "receives" if given.endswith("IV") else "takes"
    fact = f"{{They}} {verb} {given} {dose} mg daily.|{{Their}} daily steroid is {given} {dose} mg."
    return Case(draw_patient(rng, 20, 85), inputs, (fact,))


def _morphine_equivalents(rng: random.Random) -> Case:
    """Draw one drug: an explanation of two would exceed the answer length."""
    name = rng.choice(list(_OPIOIDS))
    dose, times = rng.choice(_OPIOIDS[name]), rng.randint(2, 4)
    inputs = {f"{name} Dose": (dose, "mg"), f"{name} Dose Per Day": (times, "per day")}
    fact = (
        f"{{They}} takes {name} {dose} mg {times} times per day."
        f"|{{Their}} pain medication is {name} {dose} mg, {times} doses per day."
    )
    return Case(draw_patient(rng, 20, 85), inputs, (fact,))


def _draw_woman(rng: random.Random) -> tuple[Patient, date]:
    """Draw a patient and the first day of her last menstrual period."""
    last_period = date(2005, 1, 1) + timedelta(days=rng.randrange(20 * 365))
    return draw_patient(rng, 18, 43, "Female"), last_period


def _numeric(day: date) -> str:
    return day.strftime(DATE_FORMAT)


def _dated(template: str, day: date) -> str:
    """Write a sentence with a date, in digits or with the month in words."""
    in_words = f"{day:%B} {day.day}, {day.year}"
    return "|".join(
        template.format(written) for written in (_numeric(day), _numeric(day), in_words)
    )


def _conception(rng: random.Random) -> Case:
    patient, last_period = _draw_woman(rng)
    fact = _dated("{{Their}} last menstrual period began on {}.", last_period)
    return Case(patient, {"menstrual_date": _numeric(last_period)}, (fact,))


def _due_date(rng: random.Random) -> Case:
    patient, last_period = _draw_woman(rng)
    cycle = rng.choice((28, 28, 29, 30, 31, 32, 33, 34, 35))
    inputs = {"cycle_length": cycle, "menstrual_date": _numeric(last_period)}
    facts = (
        _dated("{{Their}} last menstrual period began on {}.", last_period),
        f"{{Their}} cycle length is {cycle} days.|{{Their}} cycles last {cycle} days.",
    )
    return Case(patient, inputs, facts)


def _gestational_age(rng: random.Random) -> Case:
    patient, last_period = _draw_woman(rng)
    today = last_period + timedelta(days=rng.randint(35, 286))
    inputs = {"menstrual_date": _numeric(last_period), "current_date": _numeric(today)}
    facts = (
        _dated("{{Their}} last menstrual period began on {}.", last_period),
        _dated("Today's date is {}.", today),
    )
    return Case(patient, inputs, facts)


_PREGNANT = ("a first antenatal visit", "antenatal care", "a positive pregnancy test")
SCORES = (
    Calculator(
        13,
        "Estimated Due Date",
        "estimated_due_date:add_40_weeks_explanation",
        "By Naegele's rule, what is the patient's estimated due date?",
        _PREGNANT,
        _due_date,
        "date",
    ),
    Calculator(
        15,
        "Child-Pugh Score for Cirrhosis Mortality",
        "child_pugh_score:compute_child_pugh_score_explanation",
        "What is the patient's Child-Pugh score?",
        ("follow-up of cirrhosis", "chronic liver disease"),
        _child_pugh,
        "integer",
        starts_at="The current child pugh score is 0.",
    ),
    Calculator(
        17,
        "Revised Cardiac Risk Index for Pre-Operative Risk",
        "cardiac_risk_index:compute_cardiac_index_explanation",
        "What is the patient's Revised Cardiac Risk Index?",
        ("a pre-operative assessment",),
        _cardiac_risk,
        "integer",
        starts_at="The current cardiac risk index is 0.",
    ),
    Calculator(
        20,
        "Centor Score (Modified/McIsaac) for Strep Pharyngitis",
        "centor_score:compute_centor_score_explanation",
        "What is the patient's Centor score (modified/McIsaac)?",
        _THROAT,
        _centor,
        "integer",
        starts_at="The current Centor score is 0.",
    ),
    Calculator(
        21,
        "Glasgow Coma Score (GCS)",
        "glasgow_coma_score:compute_glasgow_coma_score_explanation",
        "What is the patient's Glasgow coma score?",
        ("a head injury", "altered consciousness", "a fall from a ladder"),
        _coma_scale,
        "integer",
        starts_at="The current glasgow coma score is 0.",
    ),
    Calculator(
        24,
        "Steroid Conversion Calculator",
        "steroid_conversion:compute_steroid_conversion_explanation",
        "What dose of {target steroid} in mg is equivalent to the patient's steroid dose?",
        ("asthma", "rheumatoid arthritis", "a medication review"),
        _steroid,
        starts_at="The mass of",
    ),
    Calculator(
        33,
        "FeverPAIN Score for Strep Pharyngitis",
        "feverpain:compute_fever_pain_explanation",
        "What is the patient's FeverPAIN score?",
        _THROAT,
        _feverpain,
        "integer",
        starts_at="The patient's current FeverPain score is 0.",
    ),
    Calculator(
        49,
        "Morphine Milligram Equivalents (MME) Calculator",
        "mme:mme_explanation",
        "What is the patient's daily dose in morphine milligram equivalents (MME)?",
        ("chronic back pain", "cancer pain", "a pain medication review"),
        _morphine_equivalents,
        starts_at="The current Morphine",
    ),
    Calculator(
        68,
        "Estimated Date of Conception",
        "conception_date:add_2_weeks_explanation",
        "What is the patient's estimated date of conception?",
        _PREGNANT,
        _conception,
        "date",
    ),
    Calculator(
        69,
        "Estimated Gestational Age",
        "gestational_age:compute_gestational_age_explanation",
        "What is the patient's estimated gestational age in weeks and days?",
        ("antenatal care", "an ultrasound in pregnancy"),
        _gestational_age,
        "weeks_days",
    ),
)
