"""What describes the project in several files agrees: packages, version, checks."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sft_tradeoff


def pyproject():
    return tomllib.loads(Path("pyproject.toml").read_text())["project"]


def locked():
    lines = Path("requirements.lock").read_text().split()
    return {canonicalize_name(n): v for n, v in (line.split("==") for line in lines)}


def test_conda_environment_names_the_same_requirements():
    environment = yaml.safe_load(Path("environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert sorted(pip) == sorted(pyproject()["dependencies"])


def test_lock_satisfies_every_requirement():
    requirements = [*pyproject()["dependencies"], *pyproject()["optional-dependencies"]["dev"]]
    for text in requirements:
        requirement = Requirement(text)
        version = locked()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{text} is locked at {version}"


def test_lock_is_exact_and_public():
    for line in Path("requirements.lock").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", line), line


def test_version_and_license_agree():
    citation = yaml.safe_load(Path("CITATION.cff").read_text())
    assert citation["version"] == pyproject()["version"] == sft_tradeoff.__version__
    assert citation["license"] == pyproject()["license"]


def test_citation_names_every_author_of_the_paper():
    (paper,) = yaml.safe_load(Path("CITATION.cff").read_text())["references"]
    assert len(paper["authors"]) == 17
    for author in paper["authors"]:
        assert author.keys() == {"given-names", "family-names"}
        assert "et al" not in " ".join(author.values())
