#!/usr/bin/env bash
# datasets 5.2.0: load_dataset("folder") loads every file of a folder, until the name of one has train, test,
# dev or the like as a word: then the files without such a word are left out, and nothing says so. With
# train.jsonl and extra.jsonl only the first is loaded; one file logic-test.jsonl hides all other files.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'datasets==5.2.0'
cd "$folder"
HF_HOME="$folder/cache" venv/bin/python -W error - <<'PYTHON'
import json
import pathlib

import datasets

datasets.disable_progress_bars()


def loaded(*names):
    """Write ten lines into each file and return the files of which each split has lines."""
    folder = pathlib.Path("_".join(names))
    folder.mkdir()
    for name in names:
        lines = [json.dumps({"file": name, "line": line}) for line in range(10)]
        (folder / name).write_text("\n".join(lines) + "\n")
    splits = datasets.load_dataset(str(folder))
    found = {split: sorted(set(rows["file"])) for split, rows in splits.items()}
    print(*names, "->", found)
    return found


assert loaded("algebra.jsonl", "logic.jsonl") == {"train": ["algebra.jsonl", "logic.jsonl"]}
assert loaded("algebra.jsonl", "logic-test.jsonl") == {"test": ["logic-test.jsonl"]}
assert loaded("train.jsonl", "extra.jsonl") == {"train": ["train.jsonl"]}
PYTHON
