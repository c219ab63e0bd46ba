"""pyproject.toml, environment.yml and requirements.lock name the same packages."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


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
