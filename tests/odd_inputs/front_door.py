"""``make own`` up to the study file, as a user meets it, in a project folder of its own."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from sft_tradeoff import cli
from tests.odd_inputs.outcome import RAW, Expected, Outcome, fault, refusal

ROOT = Path(__file__).resolve().parents[2]


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


def say(*command: object, named: Sequence[str], expected: Expected) -> Outcome:
    """Run a command of ``sft-tradeoff`` in this process.

    Args:
        command: Name and options.
        named: As for :func:`refusal`.
        expected: Of the input.

    Returns:
        What follows from its exit code and from what stood in the terminal.
    """
    terminal = io.StringIO()
    with contextlib.redirect_stderr(terminal), contextlib.redirect_stdout(terminal):
        try:
            cli.main([*map(str, command)])
            code = None
        except SystemExit as end:
            code = end.code
    said = terminal.getvalue()
    if code:
        return refusal(said[max(0, said.find("error:")) :], named, expected)
    if found := RAW.search(said):
        return fault(f"the terminal gets a raw U+{ord(found[0]):04X}: {said!r}")
    return Outcome("accepted")


def ask(
    data: Path, model: str | Path, metric: str, named: Sequence[str] = (), expected: Expected = None
) -> Outcome:
    """Have a study of one's own written, but not run."""
    options = [f"--data={data}", f"--model={model}", f"--metric={metric}"]
    return say("own", *options, "--write-only", named=named, expected=expected)


def written_study() -> Path:
    """The study that was written."""
    shipped = {path.name for path in (ROOT / "config/studies").iterdir()}
    (study,) = [p for p in Path("config/studies").glob("*.yaml") if p.name not in shipped]
    return study
