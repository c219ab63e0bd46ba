# θ0: one safetensors folder per model, built once.
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
