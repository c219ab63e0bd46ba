"""What the documents tell a reader to run, open or follow exists; nothing is run here."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

from sft_tradeoff.cli import STAGES

FOLDERS = ("config", "docs", "findings", "benchmarks", "src", "tests")
DOCUMENTS = sorted(
    [*Path().glob("*.md"), *(path for folder in FOLDERS for path in Path(folder).rglob("*.md"))]
)
GENERATED = ("results", "resources", ".snakemake", ".venv")
SHELL_BLOCK = re.compile(r"^```(?:|bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
ASSIGNMENT = re.compile(r"([A-Z_]+)=")
PLACEHOLDER = re.compile(r"[<>*\[\]{}…]|\.\.\.")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)+/?")


def words(line: str) -> list[str]:
    try:
        return shlex.split(re.sub(r"<[^>]*>", "<>", line), comments=True)
    except ValueError:  # an apostrophe: prose
        return []


def commands(text: str) -> list[list[str]]:
    """Lines of shell blocks and inline code, as words, without assignments in front."""
    blocks = "\n".join(SHELL_BLOCK.findall(text)).replace("\\\n", " ")
    inline = [" ".join(code.split()) for code in INLINE.findall(ANY_BLOCK.sub("", text))]
    found = []
    for line in [*blocks.splitlines(), *inline]:
        command = words(line)
        while command and ASSIGNMENT.match(command[0]):
            command.pop(0)
        if command:
            found.append([command[0].removeprefix(".venv/bin/"), *command[1:]])
    return found


def check_make(arguments: list[str]) -> None:
    makefile = Path("Makefile").read_text()
    for argument in arguments:
        if assignment := ASSIGNMENT.match(argument.lstrip("[")):
            name = assignment[1]
            assert re.search(rf"\b{name}\b", makefile), name
        elif not PLACEHOLDER.search(argument):
            assert re.search(rf"^{re.escape(argument)}:", makefile, re.MULTILINE), argument


@cache
def stage_options(stage: str) -> set[str]:
    assert stage in STAGES, f"unknown stage {stage!r}"
    parser = argparse.ArgumentParser()
    importlib.import_module(f"sft_tradeoff.{STAGES[stage][0]}").add_arguments(parser)
    return set(parser._option_string_actions)


def check_stage(arguments: list[str]) -> None:
    if not arguments or PLACEHOLDER.search(arguments[0]) or arguments[0] in ("--help", "STAGE"):
        return
    known = stage_options(arguments[0])
    for argument in arguments[1:]:
        if argument == "--":
            return
        if argument.startswith("--"):
            assert argument.partition("=")[0] in known, argument


def check_snakemake(arguments: list[str]) -> None:
    known = get_argument_parser()._option_string_actions
    for argument in arguments:
        if argument.startswith("-"):
            assert argument.partition("=")[0] in known, argument
    files = [Path("Snakefile"), *Path("workflow").rglob("*.smk")]
    rules = re.findall(r"^ *rule (\w+):", "\n".join(f.read_text() for f in files), re.MULTILINE)
    if arguments and re.fullmatch(r"[a-z_]+", arguments[0]):
        assert arguments[0] in rules, f"no rule {arguments[0]!r}"


def check_python(arguments: list[str]) -> None:
    assert arguments[:1] != ["-m"] or not arguments[1].startswith("sft_tradeoff"), (
        f"write sft-tradeoff instead of python -m {arguments[1]}"
    )
    if arguments and arguments[0].endswith(".py"):
        assert Path(arguments[0]).is_file(), arguments[0]


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "sft-tradeoff": check_stage,
    "snakemake": check_snakemake,
    "python": check_python,
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_are_known(document: Path) -> None:
    for program, *arguments in commands(document.read_text()):
        if program in CHECKS:
            CHECKS[program](arguments)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_named_files_exist(document: Path) -> None:
    """Those in inline code, and programs of the project in shell blocks."""
    text = document.read_text()
    programs = [command[0] for command in commands(text)]
    for name in filter(PATH.fullmatch, [*INLINE.findall(text), *programs]):
        top = name.split("/")[0]
        roots = [root for root in (Path(), document.parent) if (root / top).is_dir()]
        if roots and top not in GENERATED:
            assert any((root / name).exists() for root in roots), name


def anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    for text, target in LINK.findall(ANY_BLOCK.sub("", document.read_text())):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target
        if re.fullmatch(r"`?[\w/]+\.(py|smk|md|yaml)`?", text):
            assert name.endswith(text.strip("`")), f"{text} is the text of a link to {target}"


def test_the_checks_can_fail() -> None:
    with pytest.raises(AssertionError, match="nonesuch"):
        check_make(["nonesuch"])
    with pytest.raises(AssertionError, match="NONESUCH"):
        check_make(["study", "NONESUCH=1"])
    with pytest.raises(AssertionError, match="--nonesuch"):
        check_stage(["train", "--nonesuch"])
    with pytest.raises(AssertionError, match="nonesuch"):
        check_stage(["nonesuch"])
    with pytest.raises(AssertionError, match="--nonesuch"):
        check_snakemake(["material", "--nonesuch"])
    with pytest.raises(AssertionError, match="nonesuch"):
        check_snakemake(["nonesuch", "-n"])
    with pytest.raises(AssertionError, match="nonesuch"):
        check_python(["benchmarks/nonesuch.py"])
    with pytest.raises(AssertionError, match="sft-tradeoff"):
        check_python(["-m", "sft_tradeoff.study.runs"])
    assert commands("`X=1 make y`\n```\n.venv/bin/snakemake \\\n  -n  # why\n```\n") == [
        ["snakemake", "-n"],
        ["make", "y"],
    ]
