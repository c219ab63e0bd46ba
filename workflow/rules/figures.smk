# One module per figure; a colour never retrains.


rule figure:
    input:
        tradeoff=f"{RESULTS}/tradeoff_over_seeds.csv",
        module="src/sft_tradeoff/figures/{figure}.py",
        modules=["src/sft_tradeoff/plotting.py", "src/sft_tradeoff/aggregate.py"],
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
        mem_mb=1000,
        runtime=10,
    params:
        stem=lambda w: f"{RESULTS}/figures/{w.figure}",
    shell:
        "python -m sft_tradeoff.figures.{wildcards.figure} --tradeoff {input.tradeoff:q}"
        " --out-stem {params.stem:q}"
        " 2>&1 | tee {log:q}"
