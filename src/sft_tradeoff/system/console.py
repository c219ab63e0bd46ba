"""How every stage talks: log lines on stderr, one clear line for an error the user can fix."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import sys
from collections.abc import Iterator

logger = logging.getLogger(__name__)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


class UserError(Exception):
    """Something the user can fix; the message names the field, the value and the fix."""


@contextlib.contextmanager
def quick_start() -> Iterator[None]:
    """Import libraries and load a model without looking for garbage.

    A million objects that stay would be looked through again and again, and once more at the end of
    the process: together a fifth of the time of a process that does nothing else.
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

    A :class:`UserError`, a full disk and a file that went away are one line; anything else is a
    defect and keeps its traceback. Third-party libraries are quiet unless they warn.

    Args:
        stage: Label of the log lines, e.g. the run's name.
    """
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format=f"[{stage}] %(message)s", force=True
    )
    for name in ("sft_tradeoff", "__main__"):
        logging.getLogger(name).setLevel(logging.INFO)
    # lm-eval warns at every start about things that are as intended (a model object, no few-shot).
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        yield
    except UserError as error:
        logger.error("error: %s", error)
        sys.exit(1)
    except FileNotFoundError as error:  # inputs are there when a stage starts
        what = error.filename or " ".join(str(error).split())
        logger.error("error: a file is gone (%s); run the same command again to have it anew", what)
        sys.exit(1)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        logger.error(
            "error: cannot use %s: %s; free some space (or choose a writable folder) and run "
            "the same command again", error.filename or "the output", error.strerror,
        )  # fmt: skip
        sys.exit(1)
