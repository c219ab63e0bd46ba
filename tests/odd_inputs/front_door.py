"""``make own`` up to the study file, as a user meets it, in a project folder of its own."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sft_tradeoff import cli

ROOT = Path(__file__).resolve().parents[2]


class Said(NamedTuple):
    """How a command ended.

    Args:
        code: Exit code.
        text: What stood in the terminal.
    """

    code: int
    text: str

    @property
    def error(self) -> str:
        """What was said from the error on."""
        return self.text[max(0, self.text.find("error:")) :]


@contextlib.contextmanager
def project() -> Iterator[Path]:
    """Work in an empty project: its settings, and no studies but the shipped ones."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="odd-") as name:
        folder = Path(name)
        shutil.copytree(ROOT / "config", folder / "config")
        (folder / "Snakefile").symlink_to(ROOT / "Snakefile")
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def say(*command: object) -> Said:
    """Run a command of ``sft-tradeoff`` in this process, without progress bars."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    terminal = io.StringIO()
    with contextlib.redirect_stderr(terminal), contextlib.redirect_stdout(terminal):
        try:
            cli.main([*map(str, command)])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Said(code, terminal.getvalue())


def ask(data: Path, model: str | Path, metric: str) -> Said:
    """Have a study of one's own written, but not run."""
    options = [f"--data={data}", f"--model={model}", f"--metric={metric}"]
    return say("own", *options, "--write-only")


def written_study() -> Path:
    """The study that was written."""
    shipped = {path.name for path in (ROOT / "config/studies").iterdir()}
    (study,) = [p for p in Path("config/studies").glob("*.yaml") if p.name not in shipped]
    return study
