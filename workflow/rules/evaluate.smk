# One job per set of weights, θ0 included: general suite and domains in one process.
SUITE_ITEMS = ancient(
    expand(f"{CACHE}/benchmarks/{{benchmark}}.jsonl", benchmark=STUDY.evaluation.tasks)
)


rule evaluate:
    input:
        weights=evaluated_weights,
        base_model=lambda w: model_record(EVALUATIONS[w.evaluated].model),
        data=lambda w: evaluation_data(w, f"{RESULTS}/data/{{domain}}/test.jsonl"),
        tokens=lambda w: evaluation_data(
            w, f"{RESULTS}/tokenized/{{model}}/{{domain}}/test.npz"
        ),
        benchmarks=SUITE_ITEMS,
        graders=ancient([asset_record(asset) for asset in GRADER_ASSETS]),
    output:
        scores=f"{RESULTS}/runs/{{evaluated}}/eval.json",
        per_item=f"{RESULTS}/runs/{{evaluated}}/items.parquet",
        answers=f"{RESULTS}/runs/{{evaluated}}/answers.parquet",
    log:
        f"{RESULTS}/logs/evaluate/{{evaluated}}.log",
    benchmark:
        f"{RESULTS}/logs/evaluate/{{evaluated}}.jsonl"
    priority: 10  # soon after training, so that few weights wait on the disk
    conda:
        CONDA
    threads: 1
    resources:
        gpu=gpus(),
        mem_mb=memory_mb(4000, bytes_per_parameter=8, same_size=SAME_SIZE),
        runtime=growing(240),
    params:
        tasks=task_files_digest(),
        config=lambda w: spec_json(EVALUATIONS[w.evaluated]),
        model=lambda w, input: model_folder(input.weights),
        base_model=lambda w, input: model_folder(input.base_model),
    shell:
        "sft-tradeoff lease -- sft-tradeoff evaluate"
        " --config {params.config:q}"
        " --model {params.model:q}"
        " --base-model {params.base_model:q}"
        " --data {input.data:q}"
        " --tokens {input.tokens:q}"
        " --out {output.scores:q}"
        " 2>&1 | tee {log:q}"


# What other batches and float32 change in θ0's scores: no difference below that means anything.
rule noise_floor:
    input:
        base_model=lambda w: model_record(w.model),
        data=expand(f"{RESULTS}/data/{{domain}}/test.jsonl", domain=DOMAINS),
        tokens=expand(
            f"{RESULTS}/tokenized/{{{{model}}}}/{{domain}}/test.npz", domain=DOMAINS
        ),
        benchmarks=SUITE_ITEMS,
        per_item=lambda w: f"{RESULTS}/runs/{base_run(w.model)}/items.parquet",
    output:
        floor=f"{RESULTS}/noise_floor/{{model}}.json",
    log:
        f"{RESULTS}/logs/noise_floor/{{model}}.log",
    benchmark:
        f"{RESULTS}/logs/noise_floor/{{model}}.jsonl"
    conda:
        CONDA
    threads: 1
    resources:
        gpu=gpus(),
        mem_mb=memory_mb(4000, bytes_per_parameter=8, same_size=SAME_SIZE),
        runtime=growing(240),
    params:
        config=lambda w: spec_json(EVALUATIONS[base_run(w.model)]),
        base_model=lambda w, input: model_folder(input.base_model),
    shell:
        "sft-tradeoff lease -- sft-tradeoff noise-floor"
        " --config {params.config:q}"
        " --base-model {params.base_model:q}"
        " --data {input.data:q}"
        " --tokens {input.tokens:q}"
        " --items {input.per_item:q}"
        " --out {output.floor:q}"
        " 2>&1 | tee {log:q}"
