"""What the rules of the workflow need to plan jobs: resources, digests and command-line arguments.

No torch here: Snakemake imports this module while it plans.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from sft_tradeoff.assets.spec import Asset, LocalAsset
from sft_tradeoff.domains.own.files import digest_of
from sft_tradeoff.domains.registry import SPECS
from sft_tradeoff.system.code import SOURCE, code_digest, imported

# The memory of a job is measured for a model of this size.
SMALL_MODEL = 135_000_000  # parameters


def one_of(names: Iterable[str]) -> str:
    """Return a pattern that matches exactly these names; without names it matches nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def spec_json(spec: BaseModel) -> str:
    """Return settings as JSON; Snakemake repeats a job when the text of its ``params:`` changes."""
    return json.dumps(spec.model_dump(mode="json"), sort_keys=True)


def growing(amount: int) -> Callable[..., int]:
    """Return a resource that grows by the same amount with each attempt."""
    return lambda wildcards, attempt: amount * attempt


def memory_mb(
    smallest: int,
    bytes_per_parameter: int,
    processes: int = 1,
    same_size: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Any, Iterable[str], int], int]:
    """Return a job's memory [MB] as a function that Snakemake calls.

    The function reads the number of parameters from the model record among the job's inputs. A
    model that is not built yet counts as small.

    Args:
        smallest: Memory per process for a model of :data:`SMALL_MODEL` parameters [MB].
        bytes_per_parameter: For each further parameter.
        processes: Processes of the job.
        same_size: Record of a model that a job of the study builds -> record of one of its size.
    """

    def needed(wildcards: Any, input: Iterable[str], attempt: int) -> int:
        found = next(path for path in input if path.endswith("MODEL.json"))
        record = Path(same_size.get(found, found))
        n = json.loads(record.read_text())["n_parameters"] if record.exists() else 0
        further = max(0, n - SMALL_MODEL) * bytes_per_parameter // 10**6
        return int(attempt * processes * (smallest + further))

    return needed


def own_data_digest(path: str | None) -> str:
    """Return the SHA-256 of the user's own file or folder, or nothing where there is none.

    File times cannot replace it: the file may be older than results from an earlier one.
    """
    return digest_of(Path(path)) if path and os.path.exists(path) else ""


def local_files(asset: Asset) -> list[str] | str:
    """Return path, size and time of every file of a local asset, which the user may change.

    An empty text for assets of other sources: they are pinned.
    """
    if not isinstance(asset, LocalAsset):
        return ""
    root = Path(asset.path).expanduser()
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    return [f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]


def model_folder(path: str) -> str:
    """Return the folder of a model, given the folder or the record ``MODEL.json`` inside it."""
    return os.path.dirname(path) if path.endswith("MODEL.json") else path


def source_arguments(folders: Sequence[str], records: Sequence[str]) -> str:
    """Return the arguments that tell a stage where its assets are; empty without records."""
    if not records:
        return ""
    return f"--source {shlex.join(folders)} --source-record {shlex.join(records)}"


def domain_code(name: str) -> str:
    """Return the digest of the code that makes and grades the examples of a domain.

    That is its module with what it imports, and the stage, whose card shows a conversation; what a
    study file says about the domain is among the parameters of its job.
    """
    module = f"domains.{SPECS[name].module()}"
    used = imported(module, "domains/", "grading/", "assets/records.py", "system/records.py")
    return code_digest("domains/build.py", "chat.py", *sorted(used))


def start_check_code() -> str:
    """Return the digest of the code that compares what is tested with what θ0 was trained on."""
    return code_digest("domains/apart.py", "grading/text.py")


def benchmark_code() -> str:
    """Return the digest of the code that makes the items of the general suite."""
    return code_digest("suite", "assets/records.py", "system/records.py")


def tokenization_code(name: str) -> str:
    """Return the digest of the code behind the tokens of a domain.

    The round-trip check grades, so the domain's code is part of it.
    """
    stage = ("__init__", "card", "round_trip", "tokenize")  # what else is there changes no token
    files = (f"tokens/{module}.py" for module in stage)
    return code_digest(*files, "models/token*.py") + domain_code(name)


def answer_weights_code(name: str) -> str:
    """Return the digest of the code that finds and weighs the answers of a domain."""
    stages = (f"{wing}/answer_weights.py" for wing in ("training", "analysis", "report"))
    tables = ("analysis/base_probability.py", "analysis/tables.py")
    shared = (*tables, "report/markdown.py", "system/text.py")
    batches = ("training/batching.py", "training/reference.py", "models/padding.py")
    return code_digest("tokens", "objectives", *stages, *shared, *batches) + domain_code(name)


def task_files_digest(folder: Path = Path("workflow/tasks")) -> str:
    """Return the digest of the task files of the general suite, without their comments."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not line.lstrip().startswith("#")]
        digest.update("\n".join([path.name, *kept, ""]).encode())
    return digest.hexdigest()[:16]


def aggregation_code() -> str:
    """Return the digest of the code that turns items into scores and differences."""
    return code_digest("analysis", "stats", "suite")  # the suite says which accuracy counts


def report_code(*patterns: str) -> str:
    """Return the digest of the modules of a page, table or figure, and of what they share."""
    own = (f"report/{pattern}" for pattern in (*patterns, "markdown.py"))
    found = code_digest(*own, "study/names.py", "system/text.py")
    return found + aggregation_code()


def claims_code() -> str:
    """Return the digest of the code behind the verdicts on claims.

    The domains, which say what chance is, are not part of it: other labels are other examples.
    """
    return report_code("claims*.py", "figures/style.py", "tables.py") + _code_below_claims()


def page_code() -> str:
    """Return the digest of the code behind the page of a study, its scripts and style included."""
    digest = hashlib.sha256()
    for path in sorted((SOURCE / "report/page").iterdir()):
        if path.suffix in (".html", ".css", ".js"):
            digest.update(f"{path.name} {path.read_text(encoding='utf-8')}\n".encode())
    shared = ("__init__.py", "recommend*.py", "claims_page.py", "published.py", "tables.py")
    found = (
        report_code("page/*.py", "figures/style.py", *shared)
        + code_digest("objectives")
        + _code_below_claims()
    )
    return found + digest.hexdigest()[:16]


def theory_code() -> str:
    """Return the digest of the code behind the figure of the paper's theory."""
    return report_code("theory*.py", "figures/style.py") + _code_below_claims()


def _code_below_claims() -> str:
    return code_digest("domains/base.py", "grading/text.py", "theory")
