# From items to one tidy table of scores, and to the trade-off between domain and general suite.


rule run_table:
    input:
        added=ADDED_RATES,
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
        runs=RUN_FILES,
        base_probabilities=BASE_PROBABILITIES,
    output:
        **EPOCHS,
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
        code=aggregation_code(),
        runs=lambda w, input: Path(input.table).with_name("runs"),
        epochs=f"--epochs {shlex.quote(EPOCHS['epochs'])}" if EPOCHS else "",
    shell:
        "sft-tradeoff aggregate --run-table {input.table:q}"
        " --runs {params.runs:q}"
        " --scores {output.scores:q}"
        " --tradeoff {output.tradeoff:q}"
        " --over-seeds {output.over_seeds:q}"
        " {params.epochs}"
        " 2>&1 | tee {log:q}"
