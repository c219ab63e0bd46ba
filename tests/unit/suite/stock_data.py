"""Small data sets with the columns of lm-eval's own tasks, as files of the hub, and answers."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

# --- data in the real columns -------------------------------------------------------------------

TRAIN = [
    {
        "question": f"Ann has {n} pens and gets 2. How many?",
        "answer": f"{n}+2=<<{n}+2={n + 2}>>{n + 2}.\n#### {n + 2}",
    }
    for n in range(7)
]
TEST = [
    {"question": "What is 200 + 1000?", "answer": "200+1000=<<200+1000=1200>>1200\n#### 1,200"},
    {"question": "What is 6 times 7?", "answer": "6*7=<<6*7=42>>42.\n#### 42"},
    {"question": "What is 3 plus 4?", "answer": "3+4=<<3+4=7>>7.\n#### 7"},
    {"question": "What is 2 plus 2?", "answer": "2+2=<<2+2=4>>4.\n#### 4"},
]
NO_ARGUMENTS = dict.fromkeys(("num_highlights", "relation", "num_words", "num_sentences"))
IFEVAL = [
    {
        "key": 1000,
        "prompt": "Describe a cat. Use no commas and highlight at least 2 sections.",
        "instruction_id_list": [
            "punctuation:no_comma",
            "detectable_format:number_highlighted_sections",
        ],
        "kwargs": [NO_ARGUMENTS, {**NO_ARGUMENTS, "num_highlights": 2}],
    },
    {
        "key": 1001,
        "prompt": "Answer with JSON only.",
        "instruction_id_list": ["detectable_format:json_format"],
        "kwargs": [NO_ARGUMENTS],
    },
    {
        "key": 1005,
        "prompt": "Write at least 5 words without commas.",
        "instruction_id_list": ["length_constraints:number_words", "punctuation:no_comma"],
        "kwargs": [{**NO_ARGUMENTS, "relation": "at least", "num_words": 5}, NO_ARGUMENTS],
    },
    {
        "key": 1012,
        "prompt": "Write at least 2 sentences.",
        "instruction_id_list": ["length_constraints:number_sentences"],
        "kwargs": [{**NO_ARGUMENTS, "relation": "at least", "num_sentences": 2}],
    },
]
HUMANEVAL = [
    {
        "task_id": f"HumanEval/{n}",
        "prompt": f'\n\ndef times(x):\n    """{n} times x."""\n',
        "canonical_solution": f"    return {n} * x\n",
        "test": f"\n\nMETADATA = {{}}\ndef check(candidate):\n    assert candidate(3) == {3 * n}\n",
        "entry_point": "times",
    }
    for n in (2, 10, 9)
]

# --- scripted answers, by task and id -----------------------------------------------------------

ANSWERS = {
    "gsm8k": {
        "test-00000": " 200+1000 makes 1200\n#### 1200",
        "test-00001": " The answer is 42.",
        "test-00002": " #### 7, at most 8",
        "test-00003": " #### 5",
    },
    "ifeval": {
        "1000": "*soft* and *small*",
        "1001": 'Sure:\n{"a": 1}',
        "1005": "one two three four five, six",
        "1012": "First. Second.",
    },
    "humaneval": {
        "HumanEval/2": "    return 2 * x\n",
        "HumanEval/10": "    return x\n",
        "HumanEval/9": "    raise SystemExit(0)\n",
    },
    "humaneval_instruct": {
        "HumanEval/2": "    return 2 * x\n```\nIt doubles x.",
        "HumanEval/10": "    return x\n```",
        "HumanEval/9": "Nine times x:\n```python\n    return 9 * x\n```",
    },
}


def write_parquet(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), path)


def write_jsonl(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def hub(folder, name, records=None):
    """A snapshot of the data set, as the hub's client leaves it."""
    if name == "gsm8k":
        write_parquet(folder / "main/train-00000-of-00001.parquet", TRAIN)
        write_parquet(folder / "main/test-00000-of-00001.parquet", records or TEST)
        hidden = folder / ".cache/huggingface/download/main/test-00000-of-00001.parquet"
        write_parquet(hidden, TRAIN)
    elif name == "ifeval":
        write_jsonl(folder / "ifeval_input_data.jsonl", records or IFEVAL)
    else:
        path = folder / "openai_humaneval/test-00000-of-00001.parquet"
        write_parquet(path, records or HUMANEVAL)
    (folder / "README.md").write_text("card")
    return folder


def write_punkt(folder):
    """A sentence model that knows nothing, as nltk's downloader lays one out."""
    english = folder / "tokenizers/punkt_tab/english"
    english.mkdir(parents=True)
    for file in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (english / file).write_text("")
