"""What counts as one clear error: the suite can refuse what a stage says."""

from __future__ import annotations

import pytest

from tests.faults.laboratory import Broken, clear_error, clear_errors
from tests.faults.stages import Done

CLEAR = [
    "m/model.safetensors is damaged or truncated (EOF); delete the folder m and run it again",
    "cannot use a.pt: No space left on device; free some space (or choose a writable folder)",
    "asset 'a': wrong sha256; it was damaged or replaced: run the same command again",
    "line 3 is not UTF-8; if the file is Latin-1, convert it with iconv",
    "domain 'own': data.jsonl:\n  line 3: not valid JSON: NaN",
]
# Each has words that are advice elsewhere.
UNCLEAR = [
    "the model is damaged",
    "no use was found for the set of weights that a check of the run gave",
    "m/model.safetensors has changed since it was written; its use would run wrong",
    "cannot free the memory; the given set is too large to choose from",
    'File "train.py", line 3, in main',
]


@pytest.mark.parametrize("message", CLEAR)
def test_advice(message: str) -> None:
    assert clear_error(Done(1, f"[run] step 1\n[run] error: {message}\n")) == f"error: {message}\n"


@pytest.mark.parametrize("message", UNCLEAR)
def test_no_advice_is_refused(message: str) -> None:
    for check, code in ((clear_error, 1), (clear_errors, 2)):
        with pytest.raises(Broken, match="clear error"):
            check(Done(code, f"[run] error: {message}\n"))


@pytest.mark.parametrize(
    "done",
    [
        Done(0, f"error: {CLEAR[0]}\n"),
        Done(-9, f"error: {CLEAR[0]}\n"),
        Done(1, ""),
        Done(1, "out of space; free some\n"),
        Done(1, f"error: {CLEAR[0]}\nerror: {CLEAR[1]}\n"),
        Done(1, f"Traceback (most recent call last):\nerror: {CLEAR[0]}\n"),
    ],
)
def test_anything_but_one_error_is_refused(done: Done) -> None:
    with pytest.raises(Broken, match="clear error"):
        clear_error(done)


def test_a_study_may_name_several_jobs_and_none_without_advice() -> None:
    clear, unclear = (f"[job] error: {messages[0]}\n" for messages in (CLEAR, UNCLEAR))
    clear_errors(Done(2, clear + clear))
    for text in (clear + unclear, unclear + clear, "", f"{clear}Traceback ..."):
        with pytest.raises(Broken, match="clear errors"):
            clear_errors(Done(2, text))
