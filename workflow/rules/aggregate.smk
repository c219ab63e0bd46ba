# From items to one tidy table, and the table of the trade-off.


rule run_table:
    output:
        table=f"{RESULTS}/run_table.csv",
    log:
        f"{RESULTS}/logs/run_table.log",
    benchmark:
        f"{RESULTS}/logs/run_table.jsonl"
    conda:
        CONDA
    params:
        study=lambda w: spec_json(STUDY),
    shell:
        "sft-tradeoff runs --study {params.study:q} --out {output.table:q} 2> {log:q}"


rule aggregate:
    input:
        table=f"{RESULTS}/run_table.csv",
        evaluations=expand(f"{RESULTS}/runs/{{run}}/eval.json", run=list(EVALUATIONS)),
        per_item=expand(f"{RESULTS}/runs/{{run}}/items.parquet", run=list(EVALUATIONS)),
        training=expand(f"{RESULTS}/runs/{{run}}/train.json", run=list(RUNS)),
        module="src/sft_tradeoff/analysis/aggregate.py",
        comparison="src/sft_tradeoff/analysis/scores.py",
        stats="src/sft_tradeoff/stats.py",
    output:
        scores=f"{RESULTS}/scores.csv",
        tradeoff=f"{RESULTS}/tradeoff.csv",
        over_seeds=f"{RESULTS}/tradeoff_over_seeds.csv",
    log:
        f"{RESULTS}/logs/aggregate.log",
    benchmark:
        f"{RESULTS}/logs/aggregate.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        runs=lambda w, input: Path(input.evaluations[0]).parents[1],
    shell:
        "sft-tradeoff aggregate --run-table {input.table:q}"
        " --runs {params.runs:q}"
        " --scores {output.scores:q}"
        " --tradeoff {output.tradeoff:q}"
        " --over-seeds {output.over_seeds:q}"
        " 2>&1 | tee {log:q}"


rule tables:
    input:
        tradeoff=f"{RESULTS}/tradeoff_over_seeds.csv",
        modules=[
            "src/sft_tradeoff/report/tables.py",
            "src/sft_tradeoff/analysis/aggregate.py",
        ],
    output:
        expand(f"{RESULTS}/tables/tradeoff.{{format}}", format=["csv", "md", "tex"]),
    log:
        f"{RESULTS}/logs/tables.log",
    benchmark:
        f"{RESULTS}/logs/tables.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        folder=lambda w, output: Path(output[0]).parent,
    shell:
        "sft-tradeoff tables --tradeoff {input.tradeoff:q}"
        " --out-dir {params.folder:q}"
        " 2>&1 | tee {log:q}"
