"""Small files with the columns, types and layouts of the hub's data sets."""

import csv
import json

import pyarrow
from pyarrow import parquet

MEDCALC_COLUMNS = (
    *("Row Number", "Calculator ID", "Calculator Name", "Category", "Output Type", "Note ID"),
    *("Note Type", "Patient Note", "Question", "Relevant Entities", "Ground Truth Answer"),
    *("Lower Limit", "Upper Limit", "Ground Truth Explanation"),
)
ESCI_LABELS = ("Exact", "Substitute", "Complement", "Irrelevant")


def medcalc_row(number, calculator, note, answer, lower=None, upper=None, **changes):
    """A row as in the benchmark, where numbers are texts too."""
    row = dict.fromkeys(MEDCALC_COLUMNS, "")
    row |= {
        "Row Number": number,
        "Calculator ID": calculator,
        "Calculator Name": f"Calculator {calculator}",
        "Output Type": "decimal",
        "Note ID": f"pmc-{number}",
        "Patient Note": note,
        "Question": f"What is the value of calculator {calculator}?",
        "Relevant Entities": "{'age': [87, 'years']}",
        "Ground Truth Answer": answer,
        "Lower Limit": answer if lower is None else lower,
        "Upper Limit": answer if upper is None else upper,
        "Ground Truth Explanation": f"By the formula the answer is {answer}.\nHence {answer}. ",
    }
    return row | changes


# Last sentences of the benchmark's questions about dates and gestational ages.
ONLY_A_DATE = (
    "Your response should be in the format of M/D/Y (ie 08/31/2023, 07/03/2000) with just the date "
    "and no other text."
)
A_TUPLE = (
    "Your answer should be a tuple, specifying the number of weeks and days (i.e. (4 weeks, 3 "
    "days), (0 weeks, 5 days), (1 week, 5 days), (8 weeks, 0 days))."
)
DUE = {"Question": f"What is the patient's estimated due date? {ONLY_A_DATE}"}
AGE = {"Question": f"What is the patient's estimated gestational age? {A_TUPLE}"}

MEDCALC_TEST = [
    medcalc_row(1, "2", "An 87-year-old man, 48 kg.", "25.238", "23.976", "26.5"),
    medcalc_row(2, "28", "A 52-year-old patient, \nconfused.", "21.0"),
    medcalc_row(3, "13", "Last period on 05/29/2003.", "3/4/2004", **DUE),
    medcalc_row(4, "69", "Last period on 11/01/2003.", "('17 weeks', '1 days')", **AGE),
    medcalc_row(5, "69", "Last period on 11/01/2003.", "('17 weeks', '1 days')", **AGE),
    medcalc_row(6, "39", "Chloride 110.", "-5.0", "-4.75", "-5.25"),
]
MEDCALC_TRAIN = [
    medcalc_row(1, "2", "AN 87-year-old man,  48 kg.", "25.238", "23.976", "26.5"),  # in the test
    *(
        medcalc_row(10 + i, "2", f"Patient {i // 2}.", f"{i}.5", f"{i}.4", f"{i}.6")
        for i in range(8)
    ),
]


def write_medcalc(folder, train=MEDCALC_TRAIN, test=MEDCALC_TEST):
    """CSV files, as in the authors' repository."""
    folder.mkdir(parents=True)
    for name, rows in (("train_data.csv", train), ("test_data.csv", test)):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder


def esci_row(example, query, split, label="Exact", locale="us", **changes):
    row = {
        "example_id": example,
        "query": query,
        "query_id": 7,
        "product_id": f"B{example:09d}",
        "product_locale": locale,
        "esci_label": label,
        "small_version": 0,
        "large_version": 1,
        "split": split,
        "product_title": f"Product {example}",
        "product_description": None,
        "product_bullet_point": "light\nand  small",
        "product_brand": "Acme",
        "product_color": None,
    }
    return row | changes


def esci_rows():
    """Ten train queries of four pairs, five test queries of two; every third pair is Spanish.

    The first pair is for training, with a query of the test.
    """
    queries = [("Test  QUERY 0", "train")]
    queries += [(f"query {i}", "train") for i in range(10) for _ in range(4)]
    queries += [(f"test query {i}", "test") for i in range(5) for _ in range(2)]
    return [
        esci_row(i, query, split, ESCI_LABELS[i % 4], "es" if i % 3 == 2 else "us")
        for i, (query, split) in enumerate(queries)
    ]


def write_esci(folder, rows, shards=2):
    """Parquet files, as the hub converts data sets: default/<split>/0000.parquet."""
    for split in ("train", "test"):
        of_split = [row for row in rows if (row["split"] == "test") == (split == "test")]
        (folder / "default" / split).mkdir(parents=True)
        for i in range(shards):
            table = pyarrow.Table.from_pylist(of_split[i::shards])
            parquet.write_table(table, folder / "default" / split / f"{i:04d}.parquet")
    return folder


def metamath_row(i, query, original=None):
    return {
        "type": "GSM_Rephrased",
        "query": query,
        "original_question": original or query,
        "response": f"He has {i} and {i}.\n#### {2 * i}\nThe answer is: {2 * i}",
    }


def write_metamath(folder, rows=None):
    """One JSON list."""
    folder.mkdir(parents=True)
    default = [metamath_row(i, f"How much is {i} + {i}?", f"Question {i // 2}") for i in range(12)]
    path = folder / "MetaMathQA-395K.json"
    path.write_text(json.dumps(default if rows is None else rows, indent=1, ensure_ascii=False))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def write_gsm8k(folder, rows=None):
    """Parquet files of the configuration ``main``."""
    (folder / "main").mkdir(parents=True)
    default = [
        {
            "question": f"Test question {i}?",
            "answer": f"It is 1000+{i} = $<<1000+{i}=100{i}>>1,00{i}.\n#### 1,00{i}",
        }
        for i in range(4)
    ]
    for split in ("train", "test"):
        table = pyarrow.Table.from_pylist(default if rows is None else rows)
        parquet.write_table(table, folder / "main" / f"{split}-00000-of-00001.parquet")
    return folder
