# One module per figure; a color never retrains.


rule figure:
    input:
        tradeoff=f"{RESULTS}/tradeoff_over_seeds.csv",
        module="src/sft_tradeoff/report/figures/{figure}.py",
        modules=[
            "src/sft_tradeoff/report/figures/style.py",
            "src/sft_tradeoff/analysis/aggregate.py",
        ],
    output:
        expand(
            f"{RESULTS}/figures/{{{{figure}}}}.{{format}}",
            format=["pdf", "png", "csv"],
        ),
    log:
        f"{RESULTS}/logs/figure/{{figure}}.log",
    benchmark:
        f"{RESULTS}/logs/figure/{{figure}}.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        stem=lambda w: f"{RESULTS}/figures/{w.figure}",
    shell:
        "sft-tradeoff figure {wildcards.figure} --tradeoff {input.tradeoff:q}"
        " --out-stem {params.stem:q}"
        " 2>&1 | tee {log:q}"


# Which learning rate and method stay within the study's tolerance, or the default one.
rule recommend:
    input:
        table=f"{RESULTS}/run_table.csv",
        tradeoff=f"{RESULTS}/tradeoff_over_seeds.csv",
        evaluations=expand(f"{RESULTS}/runs/{{run}}/eval.json", run=list(EVALUATIONS)),
        per_item=expand(f"{RESULTS}/runs/{{run}}/items.parquet", run=list(EVALUATIONS)),
        training=expand(f"{RESULTS}/runs/{{run}}/train.json", run=list(RUNS)),
        modules=glob.glob("src/sft_tradeoff/analysis/*.py")
        + glob.glob("src/sft_tradeoff/report/recommend*.py"),
    output:
        page=f"{RESULTS}/recommendation.md",
        record=f"{RESULTS}/recommendation.json",
    log:
        f"{RESULTS}/logs/recommend.log",
    benchmark:
        f"{RESULTS}/logs/recommend.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        runs=lambda w, input: Path(input.evaluations[0]).parents[1],
        tolerance=measures_text(STUDY.tolerance),
        smallest_gain=measures_text(STUDY.smallest_gain),
    shell:
        "sft-tradeoff recommend --run-table {input.table:q}"
        " --runs {params.runs:q}"
        " --tradeoff {input.tradeoff:q}"
        " --tolerance={params.tolerance:q}"
        " --smallest-gain={params.smallest_gain:q}"
        " --out {output.page:q}"
        " 2>&1 | tee {log:q}"
