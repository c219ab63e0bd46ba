# θ0: one safetensors folder per model, built once. A model that starts from a run has its folder
# among the results; it stays there, so that rates or seeds can be added without training the run again.
BUILD_MB = {"safetensors": 20000, "gguf": 4000, "random": 4000}


rule base_model:
    input:
        source=lambda w: (
            ancient(asset_record(STUDY.model_catalogue[w.model].asset))
            if STUDY.model_catalogue[w.model].asset
            else []
        ),
    output:
        record=str(built_model(Path(CACHE), "{model}") / "MODEL.json"),
    log:
        "results/logs/base_model/{model}.log",
    benchmark:
        "results/logs/base_model/{model}.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=lambda w, attempt: attempt
        * BUILD_MB[STUDY.model_catalogue[w.model].format],
        runtime=growing(60),
    params:
        recipe_version=MODEL_RECIPE_VERSION,
        spec=lambda w: spec_json(STUDY.model_catalogue[w.model]),
        source=lambda w, input: sources([STUDY.model_catalogue[w.model].asset], input),
        folder=lambda w, output: model_folder(output.record),
    shell:
        "sft-tradeoff build-model --name {wildcards.model:q}"
        " --spec {params.spec:q}"
        " {params.source}"
        " --out {params.folder:q}"
        " 2>&1 | tee {log:q}"


rule check_start:
    input:
        data=expand(
            f"{RESULTS}/data/{{domain}}/{{split}}.jsonl",
            domain=DOMAINS,
            split=["train", "validation", "test"],
        ),
    output:
        compared=f"{RESULTS}/models/{{model}}.apart.json",
    log:
        f"{RESULTS}/logs/check_start/{{model}}.log",
    benchmark:
        f"{RESULTS}/logs/check_start/{{model}}.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=start_check_code(),
        trained_on=lambda w: [
            f"{RESULTS}/data/{start.domain}" for start in starts_of(STUDY, w.model)
        ],
        domains=[f"{RESULTS}/data/{domain}" for domain in DOMAINS],
    shell:
        "sft-tradeoff check-start --name {wildcards.model:q}"
        " --trained-on {params.trained_on:q}"
        " --domains {params.domains:q}"
        " --out {output.compared:q}"
        " 2>&1 | tee {log:q}"


# The run's examples and settings say whether its weights are others, not the time of its files. But
# Snakemake heeds that only of files that are there: if the run is trained again because something
# else needs its weights, all that starts from them is repeated, unless the study keeps its models.
rule start_model:
    input:
        base_model=lambda w: model_record(STARTS[w.model].model),
        trained=lambda w: ancient(f"{RESULTS}/runs/{STARTS[w.model].run}/model"),
        report=lambda w: ancient(f"{RESULTS}/runs/{STARTS[w.model].run}/train.json"),
        examples=lambda w: tokenized(STARTS[w.model], "train"),
        validation=lambda w: validation(STARTS[w.model]),
    output:
        record=f"{RESULTS}/models/{{model}}/MODEL.json",
    log:
        f"{RESULTS}/logs/start_model/{{model}}.log",
    benchmark:
        f"{RESULTS}/logs/start_model/{{model}}.jsonl"
    wildcard_constraints:
        model=one_of(STARTS),
    priority: 10
    conda:
        CONDA
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        digest=lambda w: model_digest(STUDY, w.model),
        spec=lambda w: spec_json(STUDY.model_catalogue[w.model]),
        base_model=lambda w, input: model_folder(input.base_model),
        folder=lambda w, output: model_folder(output.record),
    shell:
        "sft-tradeoff build-start --name {wildcards.model:q}"
        " --spec {params.spec:q}"
        " --trained {input.trained:q}"
        " --report {input.report:q}"
        " --base-model {params.base_model:q}"
        " --out {params.folder:q}"
        " 2>&1 | tee {log:q}"
