# Tables, figures and recommendation, of a study or of what is published. Who includes this file says
# where they are read and written: TABLES_FROM, REPORT, FIGURES_TO, LOGS, RUN_FILES, ANSWER_WEIGHTS,
# MEASURES and SETTINGS_FILE.
from pathlib import Path

from sft_tradeoff.planning.jobs import (
    claims_code,
    growing,
    one_of,
    page_code,
    report_code,
)
from sft_tradeoff.report.figures import FIGURES, drawable, table_of

CONDA = "../../environment.yml"


wildcard_constraints:
    figure=one_of(FIGURES),


rule tables:
    input:
        tradeoff=f"{TABLES_FROM}/tradeoff_over_seeds.csv",
    output:
        multiext(f"{REPORT}/tables/tradeoff", ".csv", ".md", ".tex"),
    log:
        f"{LOGS}/tables.log",
    benchmark:
        f"{LOGS}/tables.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=report_code("tables.py"),
        folder=lambda w, output: Path(output[0]).parent,
    shell:
        "sft-tradeoff tables --tradeoff {input.tradeoff:q}"
        " --out-dir {params.folder:q}"
        " 2>&1 | tee {log:q}"


rule figure:
    input:
        table=lambda w: f"{TABLES_FROM.format(**dict(w.items()))}/{table_of(w.figure)}",
    output:
        multiext(f"{FIGURES_TO}/{{figure}}", ".pdf", ".png", ".csv"),
    log:
        f"{LOGS}/figure/{{figure}}.log",
    benchmark:
        f"{LOGS}/figure/{{figure}}.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=lambda w: report_code(
            *(f"figures/{name}.py" for name in (w.figure, "style", "draw"))
        ),
        stem=lambda w, output: Path(output[0]).with_suffix(""),
    shell:
        "sft-tradeoff figure {wildcards.figure} --table {input.table:q}"
        " --out-stem {params.stem:q}"
        " 2>&1 | tee {log:q}"


# What training on each domain does to all domains, for studies with evaluation.cross_domain.
rule cross_domain:
    input:
        table=f"{TABLES_FROM}/run_table.csv",
        tradeoff=f"{TABLES_FROM}/tradeoff_over_seeds.csv",  # its job checks that items are the same
        runs=RUN_FILES,
    output:
        multiext(f"{FIGURES_TO}/cross_domain", ".md", ".csv", ".pdf", ".png"),
    log:
        f"{LOGS}/cross_domain.log",
    benchmark:
        f"{LOGS}/cross_domain.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=report_code("cross_domain*.py", "figures/style.py", "tables.py"),
        runs=lambda w, input: Path(input.table).with_name("runs"),
        stem=lambda w, output: Path(output[0]).with_suffix(""),
    shell:
        "sft-tradeoff cross-domain --run-table {input.table:q}"
        " --runs {params.runs:q}"
        " --out-stem {params.stem:q}"
        " 2>&1 | tee {log:q}"


# Which learning rate and method stay within the study's tolerance, or the default one.
rule recommend:
    input:
        table=f"{TABLES_FROM}/run_table.csv",
        tradeoff=f"{TABLES_FROM}/tradeoff_over_seeds.csv",
        answer_weights=ANSWER_WEIGHTS,
        runs=RUN_FILES,
    output:
        page=f"{REPORT}/recommendation.md",
        record=f"{REPORT}/recommendation.json",
    log:
        f"{LOGS}/recommend.log",
    benchmark:
        f"{LOGS}/recommend.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=report_code("recommend*.py", "tables.py"),
        runs=lambda w, input: Path(input.table).with_name("runs"),
        tolerance=lambda w: MEASURES(w, "tolerance"),
        smallest_gain=lambda w: MEASURES(w, "smallest_gain"),
    shell:
        "sft-tradeoff recommend --run-table {input.table:q}"
        " --runs {params.runs:q}"
        " --tradeoff {input.tradeoff:q}"
        " --tolerance={params.tolerance:q}"
        " --smallest-gain={params.smallest_gain:q}"
        " --answer-weights {input.answer_weights:q}"
        " --out {output.page:q}"
        " 2>&1 | tee {log:q}"


# The largest rate within the tolerance, by method, interpolated between the rates that were run.
rule breakpoints:
    input:
        table=f"{TABLES_FROM}/run_table.csv",
        tradeoff=f"{TABLES_FROM}/tradeoff_over_seeds.csv",
        runs=RUN_FILES,
    output:
        multiext(f"{FIGURES_TO}/breakpoints", ".md", ".csv", ".pdf", ".png"),
    log:
        f"{LOGS}/breakpoints.log",
    benchmark:
        f"{LOGS}/breakpoints.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=report_code(
            "breakpoint*.py", "figures/style.py", "recommend*.py", "tables.py"
        ),
        runs=lambda w, input: Path(input.table).with_name("runs"),
        stem=lambda w, output: Path(output[0]).with_suffix(""),
        tolerance=lambda w: MEASURES(w, "tolerance"),
    shell:
        "sft-tradeoff breakpoints --run-table {input.table:q}"
        " --runs {params.runs:q}"
        " --tradeoff {input.tradeoff:q}"
        " --tolerance={params.tolerance:q}"
        " --out-stem {params.stem:q}"
        " 2>&1 | tee {log:q}"


# Verdicts on the claims in config/claims.yaml.
rule claims:
    input:
        claims="config/claims.yaml",
        table=f"{TABLES_FROM}/run_table.csv",
        runs=RUN_FILES,
    output:
        multiext(f"{REPORT}/claims", ".md", ".json", ".csv", ".pdf", ".png"),
    log:
        f"{LOGS}/claims.log",
    benchmark:
        f"{LOGS}/claims.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        code=claims_code(),
        runs=lambda w, input: Path(input.table).with_name("runs"),
        stem=lambda w, output: Path(output[0]).with_suffix(""),
    shell:
        "sft-tradeoff claims --run-table {input.table:q}"
        " --runs {params.runs:q}"
        " --claims {input.claims:q}"
        " --out-stem {params.stem:q}"
        " 2>&1 | tee {log:q}"


# All of it on one page to explore: the HTML file holds the data and needs no network.
rule page:
    input:
        multiext(f"{TABLES_FROM}/", "scores.csv", "tradeoff.csv"),
        table=f"{TABLES_FROM}/run_table.csv",
        over_seeds=f"{TABLES_FROM}/tradeoff_over_seeds.csv",
        runs=RUN_FILES,
        reports=multiext(f"{REPORT}/", "recommendation.md", "recommendation.json"),
        claims=f"{REPORT}/claims.csv",
    output:
        page=f"{REPORT}/report.html",
    log:
        f"{LOGS}/page.log",
    benchmark:
        f"{LOGS}/page.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=page_code(),
        tables=lambda w, input: Path(input.table).parent,
        study=lambda w, input: Path(input.table).parent.name,
        reports=lambda w, output: Path(output.page).parent,
        settings=SETTINGS_FILE,
    shell:
        "sft-tradeoff report {params.study:q} --tables {params.tables:q}"
        " --reports {params.reports:q}"
        " --settings {params.settings:q}"
        " --out {output.page:q}"
        " 2>&1 | tee {log:q}"
