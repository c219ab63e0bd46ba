"""Log lines of every stage on stderr, and one clear line for an error that the user can fix."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from sft_tradeoff.system.text import escaped, shortened

logger = logging.getLogger(__name__)
IN_PROJECT = Path("config/catalogue.yaml")  # a file that marks the project's folder
MESSAGE_CHARACTERS = 10_000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


class UserError(Exception):
    """Something the user can fix; the message names the field, the value and the fix."""


class _Formatter(logging.Formatter):
    """No text of data, a model or a generated program steers the terminal or floods it."""

    def format(self, record: logging.LogRecord) -> str:
        return shortened(escaped(super().format(record)), MESSAGE_CHARACTERS)


@contextlib.contextmanager
def quick_start() -> Iterator[None]:
    """Import libraries and load a model without garbage collection.

    The collector would traverse a million permanent objects again and again, and once more at
    exit: a fifth of the time of a process that does nothing else.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


@contextlib.contextmanager
def run_main(stage: str) -> Iterator[None]:
    """Run a stage's ``main``: set up logging, and end with exit code 1 on any error.

    A :class:`UserError`, a full disk and a missing file are reported in one line; anything else is
    a defect and keeps its traceback. Third-party libraries are quiet unless they warn.

    Args:
        stage: Label of the log lines, e.g. the run's name.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(f"[{stage}] %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("sft_tradeoff", "__main__"):
        logging.getLogger(name).setLevel(logging.INFO)
    # lm-eval warns at every start about what is intended (a model object, no few-shot examples).
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        yield
    except UserError as error:
        logger.error("error: %s", error)
        sys.exit(1)
    except FileNotFoundError as error:
        what = error.filename or " ".join(str(error).split())
        logger.error("error: file not found: %s; %s", what, _find_it())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _FULL + _CLOSED:
            raise
        what = error.filename or "the output"
        fix = "free some space" if error.errno in _FULL else "correct its permissions"
        fix += " (or choose a writable folder) and run the same command again"
        if error.errno == errno.EFBIG:
            fix = "raise the limit on the size of files (ulimit -f unlimited) and run it again"
        logger.error("error: cannot use %s: %s; %s", what, error.strerror, fix)
        sys.exit(1)


def _find_it() -> str:
    """What helps against a missing file."""
    if not IN_PROJECT.is_file():
        return f"{Path.cwd()} is not the project's folder; run the command in the project's folder"
    return "correct the path, or run the same command again if the workflow makes this file"
