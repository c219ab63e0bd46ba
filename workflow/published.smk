# Tables and figures of published studies, drawn from results/published alone.
# Its own list of rules: Snakemake plans only what is defined, and nothing here trains, evaluates or
# writes what is read. So no file time can start a training, and forcing every job is safe.
from pathlib import Path

from snakemake.exceptions import WorkflowError

from sft_tradeoff.report.figures import FIGURES
from sft_tradeoff.report.published import published_measures, verified_studies, with_runs
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.strict_yaml import read_yaml

PUBLISHED = "results/published"
CONDA = "../environment.yml"
try:
    for file in workflow.configfiles:
        read_yaml(file)  # refuses what Snakemake's own reader drops or reads otherwise
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
        "sft-tradeoff tables --tradeoff {input.tradeoff:q}"
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
        "sft-tradeoff figure {wildcards.figure} --tradeoff {input.tradeoff:q}"
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
        "sft-tradeoff recommend --run-table {input.table:q}"
        " --runs {input.runs:q}"
        " --tradeoff {input.tradeoff:q}"
        " --tolerance={params.tolerance:q}"
        " --smallest-gain={params.smallest_gain:q}"
        " --out {output.page:q}"
        " 2>&1 | tee {log:q}"
