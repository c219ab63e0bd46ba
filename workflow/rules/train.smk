# θ0's losses where a method reads them, then one job per run. The folder of resume points is no output: Snakemake would delete it.


rule reference:
    input:
        model=lambda w: model_record(w.model),
        data=f"{RESULTS}/tokenized/{{model}}/{{domain}}/train.npz",
    output:
        nll=f"{RESULTS}/reference/{{model}}/{{domain}}.parquet",
    log:
        f"{RESULTS}/logs/reference/{{model}}.{{domain}}.log",
    benchmark:
        f"{RESULTS}/logs/reference/{{model}}.{{domain}}.jsonl"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        dtype="float32" if STUDY.training.precision == "fp32" else "bfloat16",
    shell:
        "python -m sft_tradeoff.reference --base-model $(dirname {input.model:q})"
        " --data {input.data:q}"
        " --dtype {params.dtype}"
        " --out {output.nll:q}"
        " 2>&1 | tee {log:q}"


rule train:
    input:
        model=lambda w: model_record(RUNS[w.run].model),
        data=lambda w: tokenized(RUNS[w.run], "train"),
        reference=lambda w: reference(RUNS[w.run]),
    output:
        model=(
            directory(f"{RESULTS}/runs/{{run}}/model")
            if STUDY.keep_models
            else temp(directory(f"{RESULTS}/runs/{{run}}/model"))
        ),
        report=f"{RESULTS}/runs/{{run}}/train.json",
    log:
        f"{RESULTS}/logs/train/{{run}}.log",
    benchmark:
        f"{RESULTS}/logs/train/{{run}}.jsonl"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=5000,
        runtime=240,
    params:
        config=lambda w: spec_json(RUNS[w.run]),
        state=f"{RESULTS}/state/{{run}}",
        reference=lambda w, input: (
            f"--reference {shlex.quote(input.reference)}" if input.reference else ""
        ),
    shell:
        "python -m sft_tradeoff.train --config {params.config:q}"
        " --base-model $(dirname {input.model:q})"
        " --data {input.data:q}"
        " {params.reference}"
        " --state {params.state:q}"
        " --out {output.model:q}"
        " 2>&1 | tee {log:q}"
