# θ0's statistics where a method reads them, one job per trained run, and averages of runs with θ0.
# The folder of resume points is not an output: Snakemake would delete it.


rule reference:
    input:
        model=lambda w: model_record(w.model),
        data=f"{RESULTS}/tokenized/{{model}}/{{domain}}/train.npz",
    output:
        statistics=f"{RESULTS}/reference/{{model}}/{{domain}}.parquet",
        summary=f"{RESULTS}/reference/{{model}}/{{domain}}.json",
    log:
        f"{RESULTS}/logs/reference/{{model}}.{{domain}}.log",
    benchmark:
        f"{RESULTS}/logs/reference/{{model}}.{{domain}}.jsonl"
    conda:
        CONDA
    threads: 1
    resources:
        gpu=gpus(),
        mem_mb=memory_mb(4000, bytes_per_parameter=6, same_size=SAME_SIZE),
        runtime=growing(120),
    params:
        recipe_version=TRAIN_RECIPE_VERSION,
        dtype=STUDY.training.compute_type,
        model_digest=lambda w: model_digest(STUDY, w.model),
        base_model=lambda w, input: model_folder(input.model),
    shell:
        "sft-tradeoff lease -- sft-tradeoff reference"
        " --base-model {params.base_model:q}"
        " --data {input.data:q}"
        " --dtype {params.dtype}"
        " --out {output.statistics:q}"
        " 2>&1 | tee {log:q}"


# Whether a method starves the answer. First among the jobs that are ready: a warning is of use before training.
rule answer_weights:
    input:
        model=lambda w: model_record(w.model),
        data=f"{RESULTS}/data/{{domain}}/train.jsonl",
        tokens=f"{RESULTS}/tokenized/{{model}}/{{domain}}/train.npz",
        reference=any_reference,
    output:
        table=f"{RESULTS}/answer_weights/{{model}}.{{domain}}.csv",
        page=f"{RESULTS}/answer_weights/{{model}}.{{domain}}.md",
    log:
        f"{RESULTS}/logs/answer_weights/{{model}}.{{domain}}.log",
    benchmark:
        f"{RESULTS}/logs/answer_weights/{{model}}.{{domain}}.jsonl"
    priority: 20
    conda:
        CONDA
    threads: 1
    resources:
        gpu=gpus(),
        mem_mb=memory_mb(4000, bytes_per_parameter=6, same_size=SAME_SIZE),
        runtime=growing(60),
    params:
        code=lambda w: answer_weights_code(DOMAINS[w.domain].name),
        model_digest=lambda w: model_digest(STUDY, w.model),
        base_model=lambda w, input: model_folder(input.model),
        domain=lambda w: DOMAINS[w.domain].name,
        methods=json.dumps(
            [method.model_dump(mode="json") for method in weighing_methods(STUDY)]
        ),
        batch_size=STUDY.training.batch_size,
        seed=STUDY.seeds[0],
        dtype=STUDY.training.compute_type,
        reference=lambda w, input: (
            f"--reference {shlex.quote(input.reference)}" if input.reference else ""
        ),
    shell:
        "sft-tradeoff lease -- sft-tradeoff answer-weights"
        " --base-model {params.base_model:q}"
        " --domain {params.domain}"
        " --data {input.data:q}"
        " --tokens {input.tokens:q}"
        " {params.reference}"
        " --methods {params.methods:q}"
        " --batch-size {params.batch_size}"
        " --seed {params.seed}"
        " --dtype {params.dtype}"
        " --out {output.table:q}"
        " 2>&1 | tee {log:q}"


rule train:
    input:
        model=lambda w: model_record(RUNS[w.run].model),
        data=lambda w: tokenized(RUNS[w.run], "train"),
        validation=lambda w: validation(RUNS[w.run]),
        reference=lambda w: reference(RUNS[w.run]),
        apart=lambda w: apart(RUNS[w.run]),
    output:
        **SCORES_OF_EPOCHS,
        **TRAINING_TOKENS,
        model=weights(f"{RESULTS}/runs/{{run}}/model"),
        report=f"{RESULTS}/runs/{{run}}/train.json",
    log:
        f"{RESULTS}/logs/train/{{run}}.log",
    benchmark:
        f"{RESULTS}/logs/train/{{run}}.jsonl"
    conda:
        CONDA
    threads: STUDY.training.processes
    resources:
        gpu=gpus(STUDY.training.processes),
        # With GPUs, as on clusters, the optimizer's state is not in this memory.
        mem_mb=memory_mb(
            5000,
            bytes_per_parameter=12 if N_GPUS or not workflow.local_exec else 20,
            processes=STUDY.training.processes,
            same_size=SAME_SIZE,
        ),
        runtime=growing(240),
    params:
        gpus=STUDY.training.processes,
        # Not accelerate's launcher: settings in the user's home would reach the run. Without GPUs
        # the processes compute on the CPU.
        start=(
            f"torchrun --standalone --nproc-per-node {STUDY.training.processes}"
            if STUDY.training.processes > 1
            else "python"
        ),
        config=lambda w: spec_json(RUNS[w.run]),
        base_model=lambda w, input: model_folder(input.model),
        state=f"{RESULTS}/state/{{run}}",
        validation=lambda w, input: validation_arguments(input.validation),
        reference=lambda w, input: (
            f"--reference {shlex.quote(input.reference)}" if input.reference else ""
        ),
    shell:
        "sft-tradeoff lease --gpus {params.gpus} --"
        " {params.start} -m sft_tradeoff train --config {params.config:q}"
        " --base-model {params.base_model:q}"
        " --data {input.data:q}"
        " {params.validation}"
        " {params.reference}"
        " --state {params.state:q}"
        " --out {output.model:q}"
        " 2>&1 | tee {log:q}"


rule merge:
    input:
        base_model=lambda w: model_record(RUNS[w.merged].model),
        trained=lambda w: f"{RESULTS}/runs/{RUNS[w.merged].merge_of}/model",
    output:
        model=weights(f"{RESULTS}/runs/{{merged}}/model"),
        report=f"{RESULTS}/runs/{{merged}}/train.json",
    log:
        f"{RESULTS}/logs/merge/{{merged}}.log",
    benchmark:
        f"{RESULTS}/logs/merge/{{merged}}.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=memory_mb(3000, bytes_per_parameter=12, same_size=SAME_SIZE),
        runtime=growing(60),
    params:
        config=lambda w: spec_json(RUNS[w.merged]),
        base_model=lambda w, input: model_folder(input.base_model),
    shell:
        "sft-tradeoff merge --config {params.config:q}"
        " --base-model {params.base_model:q}"
        " --trained {input.trained:q}"
        " --out {output.model:q}"
        " 2>&1 | tee {log:q}"
