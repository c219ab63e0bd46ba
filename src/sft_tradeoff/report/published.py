"""Published studies, ``results/published/<study>``: their files and checksums.

Anyone can redraw figures from these files without training (``make figures``), so no file may
change unnoticed. The workflow imports this module while it plans: no torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_tradeoff.study.names import measures_text
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import read_json, sha256_of
from sft_tradeoff.system.strict_yaml import read_yaml
from sft_tradeoff.system.text import listing
from sft_tradeoff.system.validation import closest

MANIFEST = "MANIFEST.json"
CHECKSUMS = "MANIFEST.sha256"  # of all files and the manifest, as `sha256sum --check` reads them


class PublishError(UserError):
    """A study cannot be published, or a published file was changed."""


def verified_studies(published: Path, only: str | None = None) -> list[str]:
    """Names of the published studies, each checked against its checksums.

    Args:
        published: Folder with one folder per study.
        only: The only study to check; None for all.

    Raises:
        PublishError: If the study is not published, or a file was changed.
    """
    names = sorted(p.name for p in published.glob("[!.]*") if p.is_dir())
    if not names:
        raise PublishError(f"{published}: nothing is published; run make publish STUDY=<name>")
    if only is not None and only not in names:
        raise PublishError(
            f"{published}: study {only!r} is not published ({closest(only, names)}); run "
            f"make publish STUDY={only} first"
        )
    names = names if only is None else [only]
    for name in names:
        verify(published / name)
    return names


def with_runs(published: Path, studies: Sequence[str]) -> list[str]:
    """The studies whose per-item scores are published too.

    A recommendation compares item by item, so the tables alone are not enough to redraw it.
    """
    return [name for name in studies if read_json(published / name / MANIFEST)["runs_included"]]


def crossed(published: Path, studies: Sequence[str]) -> list[str]:
    """The studies in which runs are scored on domains that they were not trained on.

    As :attr:`~sft_tradeoff.study.config.Study.scores_other_domains` says of one that can be
    computed.
    """
    settings = {name: read_yaml(published / name / "study.yaml") for name in studies}
    return [name for name, study in settings.items() if _scores_other_domains(study)]


def _scores_other_domains(study: Mapping[str, Any]) -> bool:
    entries = study.get("model_catalogue") or {}
    if any((entries.get(model) or {}).get("start_from") for model in study.get("models", ())):
        return True
    return bool((study.get("evaluation") or {}).get("cross_domain")) and len(study["domains"]) > 1


def published_measures(folder: Path, key: str) -> str:
    """Tolerance or smallest gain of a published study, in the form of a command-line option.

    Empty means the default. The rest of the study file is not read: it may name models that are no
    longer in the catalogue.

    Args:
        folder: The published study.
        key: ``tolerance`` or ``smallest_gain``.
    """
    return measures_text(read_yaml(folder / "study.yaml").get(key, ""))


def verify(folder: Path) -> None:
    """Compare every file of a published study with its checksum.

    Raises:
        PublishError: Naming the files that were changed, removed or added.
    """
    if not (folder / CHECKSUMS).is_file():
        raise PublishError(f"{folder / CHECKSUMS}: missing; {_repair(folder)}")
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = checksums(folder)
    names = sorted(expected.keys() | found.keys())
    if changed := [folder / name for name in names if expected.get(name) != found.get(name)]:
        raise PublishError(
            f"{listing(changed)}: changed, removed or added since it was published; "
            f"{_repair(folder)}"
        )


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a published study, by relative path; without the checksum file."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
    found.pop(CHECKSUMS, None)
    return found


def _repair(folder: Path) -> str:
    return f"restore the folder from git, or run make publish STUDY={folder.name} REPLACE=yes"
