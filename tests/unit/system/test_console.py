"""How stages start."""

import errno
import gc
import logging
import os
from pathlib import Path

import pytest

from sft_tradeoff.sandbox.run import SandboxError, run_python
from sft_tradeoff.system.console import UserError, quick_start, run_main


def test_garbage_is_looked_for_again_after_the_start_and_what_is_there_stays():
    assert gc.isenabled()
    gc.unfreeze()
    try:
        with pytest.raises(ValueError, match="half-way"), quick_start():
            assert not gc.isenabled()
            raise ValueError("half-way")
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_who_looks_for_no_garbage_is_left_so():
    gc.disable()
    try:
        with quick_start():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.parametrize(
    ("in_project", "words"),
    [
        (True, "file not found: gone.csv; correct the path, or run the same command again"),
        (False, "is not the project's folder; run the command in the project's folder"),
    ],
)
def test_a_missing_file_is_named_with_what_helps(tmp_path, monkeypatch, capsys, in_project, words):
    if not in_project:
        monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped, run_main("test"):
        Path("gone.csv").read_text()
    assert stopped.value.code == 1
    err = capsys.readouterr().err
    assert words in err and (in_project or str(tmp_path) in err)


@pytest.mark.usefixtures("sandbox")
def test_a_generated_program_cannot_color_the_terminal(capsys):
    """Nor can the name of a file; the program's words are the reason of the error."""
    reason = run_python("raise ValueError('\x1b[2J\x07gone')").reason
    assert "\x1b" in reason
    with pytest.raises(SystemExit), run_main("test"):
        logging.getLogger("sft_tradeoff").info("%s", Path("a\rb\x1b]0;title\x07.jsonl"))
        raise SandboxError(reason)
    err = capsys.readouterr().err
    assert r"[test] a\rb\x1b]0;title\x07.jsonl" in err
    assert r"(ValueError: \x1b[2J\x07gone)" in err
    assert "\x1b" not in err and "\r" not in err and "\x07" not in err


def test_a_message_as_long_as_the_data_is_cut(capsys):
    with pytest.raises(SystemExit), run_main("test"):
        raise UserError(f"line 1: key {'x' * 5_000_000!r} is not read; remove it")
    err = capsys.readouterr().err
    assert len(err) < 10_100
    assert err.startswith("[test] error: line 1: key 'xxx") and err.endswith("; remove it\n")


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "correct its permissions"),
        (errno.EACCES, "correct its permissions"),
    ],
)
def test_a_disk_that_is_full_and_one_that_is_closed_need_different_things(capsys, code, fix):
    with pytest.raises(SystemExit), run_main("test"):
        raise OSError(code, os.strerror(code), "a.pt")
    words = f"error: cannot use a.pt: {os.strerror(code)}; {fix} (or choose a writable folder) and"
    assert words in capsys.readouterr().err
