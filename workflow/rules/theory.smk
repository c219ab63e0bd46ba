# The paper's theory on small distributions: the same for every study, and drawn from none.
from pathlib import Path

from sft_tradeoff.planning.jobs import growing, theory_code

CONDA = "../../environment.yml"


rule theory:
    output:
        multiext("figures/theory/theory", ".pdf", ".png", ".csv"),
    log:
        "results/logs/published/theory.log",
    benchmark:
        "results/logs/published/theory.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=theory_code(),
        stem=lambda w, output: Path(output[0]).with_suffix(""),
    shell:
        "sft-tradeoff theory --out-stem {params.stem:q} 2>&1 | tee {log:q}"
