"""Whether what a study is made from fits together and is pinned; checked before any job.

No torch here: Snakemake imports this module for every dry run.
"""

from __future__ import annotations

from collections.abc import Iterator

from sft_tradeoff.benchmarks import BENCHMARKS
from sft_tradeoff.config import ConfigError, Study
from sft_tradeoff.specs import DOMAIN_ASSETS, UNPINNED, HubAsset


def check_domains(study: Study, source: str) -> None:
    """Refuse a domain whose test data are also general benchmarks.

    Args:
        study: A valid study.
        source: Name of its file.

    Raises:
        ConfigError: Naming file, key, value and fix.
    """
    for domain in study.domains:
        for task in study.evaluation.tasks:
            if task in BENCHMARKS and BENCHMARKS[task].asset in DOMAIN_ASSETS.get(domain.name, ()):
                raise ConfigError(
                    f"{source}: evaluation.tasks: {task!r} is the test of domain {domain.name!r}, "
                    "so it is no general ability here; take it out"
                )


def unpinned_assets(study: Study, source: str) -> str:
    """What is missing before a study can run: commits of hub repositories; empty if nothing is.

    A study without them can be planned, but nobody could repeat its results: files at the hub
    change.
    """
    lines = [
        f"{source}: assets.{name}.revision: the commit of {asset.repo} is not pinned; copy the "
        "40 digits from the commits on its hub page into the asset's entry (config/catalogue.yaml, "
        "or the same entry under 'assets' in the study), or use a copy of its files with "
        "'source: local' and 'path'"
        for name in sorted(set(_used_assets(study)))
        if isinstance(asset := study.assets[name], HubAsset) and asset.revision == UNPINNED
    ]
    return "\n".join(lines)


def _used_assets(study: Study) -> Iterator[str]:
    found = [study.model_catalogue[model].asset for model in study.models]
    for task in study.evaluation.tasks:
        found += [BENCHMARKS[task].asset, BENCHMARKS[task].grader_asset]
    for domain in study.domains:
        found += DOMAIN_ASSETS.get(domain.name, ())
    return (name for name in found if name)
