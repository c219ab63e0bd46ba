# Tables and figures of published studies, drawn from results/published alone.
# Its own list of rules: Snakemake plans only what is defined, and nothing here trains, evaluates or
# writes what is read. So no file time can start a training, and forcing every job is safe.
import os
import sys
from pathlib import Path

sys.path.insert(0, os.path.abspath("src"))
os.environ.update(PYTHONPATH=os.path.abspath("src"))

from snakemake.exceptions import WorkflowError

from sft_tradeoff.console import UserError
from sft_tradeoff.publish import published_measures, verified_studies, with_runs
from sft_tradeoff.strict_yaml import read_yaml

PUBLISHED = "results/published"
CONDA = "../environment.yml"
FIGURES = glob_wildcards(r"src/sft_tradeoff/figures/{figure,[a-z]\w*}.py").figure
try:
    for file in workflow.configfiles:
        read_yaml(
            file
        )  # refuses doubled keys, of which Snakemake's own reader keeps the last
    STUDIES = verified_studies(Path(PUBLISHED), config.get("study"))
    RECOMMENDED = with_runs(Path(PUBLISHED), STUDIES)
except UserError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    study="[A-Za-z0-9_-]+",
    figure="|".join(FIGURES),


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
        figures=expand(
            "figures/{study}/{figure}.{format}",
            study=STUDIES,
            figure=FIGURES,
            format=["pdf", "png", "csv"],
        ),
        recommendations=expand("figures/{study}/recommendation.md", study=RECOMMENDED),


rule tables:
    input:
        tradeoff=f"{PUBLISHED}/{{study}}/tradeoff_over_seeds.csv",
    output:
        expand(
            "figures/{{study}}/tables/tradeoff.{format}", format=["csv", "md", "tex"]
        ),
    log:
        "results/logs/published/{study}/tables.log",
    benchmark:
        "results/logs/published/{study}/tables.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        folder=lambda w, output: Path(output[0]).parent,
    shell:
        "python -m sft_tradeoff.tables --tradeoff {input.tradeoff:q}"
        " --out-dir {params.folder:q}"
        " 2>&1 | tee {log:q}"


rule figure:
    input:
        tradeoff=f"{PUBLISHED}/{{study}}/tradeoff_over_seeds.csv",
    output:
        expand("figures/{{study}}/{{figure}}.{format}", format=["pdf", "png", "csv"]),
    log:
        "results/logs/published/{study}/{figure}.log",
    benchmark:
        "results/logs/published/{study}/{figure}.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        stem=lambda w: f"figures/{w.study}/{w.figure}",
    shell:
        "python -m sft_tradeoff.figures.{wildcards.figure} --tradeoff {input.tradeoff:q}"
        " --out-stem {params.stem:q}"
        " 2>&1 | tee {log:q}"


rule recommend:
    input:
        table=f"{PUBLISHED}/{{study}}/run_table.csv",
        tradeoff=f"{PUBLISHED}/{{study}}/tradeoff_over_seeds.csv",
        runs=f"{PUBLISHED}/{{study}}/runs",
    output:
        page="figures/{study}/recommendation.md",
        record="figures/{study}/recommendation.json",
    log:
        "results/logs/published/{study}/recommend.log",
    benchmark:
        "results/logs/published/{study}/recommend.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        tolerance=lambda w: published_measures(Path(PUBLISHED, w.study), "tolerance"),
        smallest_gain=lambda w: published_measures(
            Path(PUBLISHED, w.study), "smallest_gain"
        ),
    shell:
        "python -m sft_tradeoff.recommend --run-table {input.table:q}"
        " --runs {input.runs:q}"
        " --tradeoff {input.tradeoff:q}"
        " --tolerance={params.tolerance:q}"
        " --smallest-gain={params.smallest_gain:q}"
        " --out {output.page:q}"
        " 2>&1 | tee {log:q}"
