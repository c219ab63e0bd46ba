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
        kl_references=kl_references,
        sampled_texts=sampled_texts,
        benchmarks=SUITE_ITEMS,
        graders=ancient([asset_record(asset) for asset in GRADER_ASSETS]),
    output:
        **TEST_TOKENS,
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
        states=lambda w, input: state_arguments(
            input.kl_references, input.sampled_texts
        ),
    shell:
        "sft-tradeoff lease -- sft-tradeoff evaluate"
        " --config {params.config:q}"
        " --model {params.model:q}"
        " --base-model {params.base_model:q}"
        " --data {input.data:q}"
        " --tokens {input.tokens:q}"
        " {params.states}"
        " --out {output.scores:q}"
        " 2>&1 | tee {log:q}"


# θ0's hidden states, from which every evaluation computes the divergence from θ0.
rule kl_reference:
    input:
        base_model=lambda w: model_record(w.model),
        tokens=f"{RESULTS}/tokenized/{{model}}/{{domain}}/test.npz",
    output:
        states=f"{RESULTS}/kl_reference/{{model}}/{{domain}}.npz",
    log:
        f"{RESULTS}/logs/kl_reference/{{model}}.{{domain}}.log",
    benchmark:
        f"{RESULTS}/logs/kl_reference/{{model}}.{{domain}}.jsonl"
    conda:
        CONDA
    threads: 1
    resources:
        gpu=gpus(),
        mem_mb=memory_mb(4000, bytes_per_parameter=6, same_size=SAME_SIZE),
        runtime=growing(30),
    params:
        recipe_version=DIVERGENCE_RECIPE_VERSION,
        model_digest=lambda w: model_digest(STUDY, w.model),
        positions=STUDY.evaluation.kl_positions,
        base_model=lambda w, input: model_folder(input.base_model),
    shell:
        "sft-tradeoff lease -- sft-tradeoff kl-reference"
        " --base-model {params.base_model:q}"
        " --tokens {input.tokens:q}"
        " --positions {params.positions}"
        " --out {output.states:q}"
        " 2>&1 | tee {log:q}"


rule sample_texts:
    input:
        base_model=lambda w: model_record(w.model),
    output:
        texts=f"{RESULTS}/sampled_texts/{{model}}.npz",
    log:
        f"{RESULTS}/logs/sample_texts/{{model}}.log",
    benchmark:
        f"{RESULTS}/logs/sample_texts/{{model}}.jsonl"
    conda:
        CONDA
    threads: 1
    resources:
        gpu=gpus(),
        mem_mb=memory_mb(4000, bytes_per_parameter=6, same_size=SAME_SIZE),
        runtime=growing(60),
    params:
        recipe_version=DIVERGENCE_RECIPE_VERSION,
        model_digest=lambda w: model_digest(STUDY, w.model),
        texts=STUDY.evaluation.sampled_texts,
        tokens=STUDY.evaluation.sampled_tokens,
        base_model=lambda w, input: model_folder(input.base_model),
    shell:
        "sft-tradeoff lease -- sft-tradeoff sample-texts"
        " --base-model {params.base_model:q}"
        " --texts {params.texts} --tokens {params.tokens}"
        " --out {output.texts:q}"
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
        # How divergence is measured does not matter here.
        config=lambda w: spec_json(
            EVALUATIONS[base_run(w.model)].model_copy(update={"divergence": None})
        ),
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
