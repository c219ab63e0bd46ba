# Tables and figures of published studies, drawn from results/published alone.
# Snakemake plans only what is defined, and nothing here trains, evaluates or writes what is read. So no
# file time can start a training, and forcing every job is safe.
from pathlib import Path

from snakemake.exceptions import WorkflowError

from sft_tradeoff.report.published import (
    crossed,
    published_measures,
    verified_studies,
    with_runs,
)
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.strict_yaml import read_yaml

PUBLISHED = "results/published"
try:
    for file in workflow.configfiles:
        read_yaml(file)  # refuses what Snakemake's own reader drops or reads otherwise
    STUDIES = verified_studies(Path(PUBLISHED), config.get("study"))
    RECOMMENDED = with_runs(Path(PUBLISHED), STUDIES)
    CROSSED = crossed(Path(PUBLISHED), RECOMMENDED)
except UserError as error:
    raise WorkflowError(str(error)) from None

TABLES_FROM = f"{PUBLISHED}/{{study}}"
REPORT = FIGURES_TO = "figures/{study}"
LOGS = "results/logs/published/{study}"
SETTINGS_FILE = f"{PUBLISHED}/{{study}}/study.yaml"
RUN_FILES = f"{PUBLISHED}/{{study}}/runs"


# Warnings from before training; what older versions published has none.
ANSWER_WEIGHTS = lambda wildcards: sorted(
    map(str, Path(PUBLISHED, wildcards.study).glob("answer_weights/*.csv"))
)


# Tolerance or smallest gain of a published study, as an option of its recommendation.
MEASURES = lambda wildcards, key: published_measures(
    Path(PUBLISHED, wildcards.study), key
)


include: "rules/report.smk"
include: "rules/theory.smk"


wildcard_constraints:
    study="[A-Za-z0-9_-]+",


localrules:
    all,


rule all:
    default_target: True
    input:
        tables=expand(
            "figures/{study}/tables/tradeoff.{format}",
            study=STUDIES,
            format=["csv", "md", "tex"],
        ),
        cross_domain=expand("figures/{study}/cross_domain.md", study=CROSSED),
        recommendations=expand(
            "figures/{study}/{page}.md",
            study=RECOMMENDED,
            page=["recommendation", "breakpoints", "claims"],
        ),
        pages=expand("figures/{study}/report.html", study=RECOMMENDED),
        figures=[
            f"figures/{study}/{figure}.{format}"
            for study in STUDIES
            for figure in drawable(
                path.name for path in Path(PUBLISHED, study).iterdir()
            )
            for format in ["pdf", "png", "csv"]
        ],
        theory=rules.theory.output,
