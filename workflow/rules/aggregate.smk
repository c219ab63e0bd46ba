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
        **TALR_OPTIONS,
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
        options=" ".join(
            f"--talr-options {shlex.quote(p)}" for p in TALR_OPTIONS.values()
        ),
    shell:
        "sft-tradeoff aggregate --run-table {input.table:q}"
        " --runs {params.runs:q}"
        " --scores {output.scores:q}"
        " --tradeoff {output.tradeoff:q}"
        " --over-seeds {output.over_seeds:q}"
        " {params.epochs}"
        " {params.options}"
        " 2>&1 | tee {log:q}"


# Of studies with record_tokens.
rule token_tables:
    input:
        table=f"{RESULTS}/run_table.csv",
        runs=RUN_FILES,
    output:
        [f"{RESULTS}/{name}" for name in TOKEN_TABLES],
    log:
        f"{RESULTS}/logs/token_tables.log",
    benchmark:
        f"{RESULTS}/logs/token_tables.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        code=aggregation_code(),
        runs=lambda w, input: Path(input.table).with_name("runs"),
        folder=lambda w, output: Path(output[0]).parent,
    shell:
        "sft-tradeoff token-tables --run-table {input.table:q}"
        " --runs {params.runs:q}"
        " --out-dir {params.folder:q}"
        " 2>&1 | tee {log:q}"
