# Material: fetched assets, benchmark items, domain examples, tokens.


onstart:  # not of a dry run, which shows what a study would do
    if UNPINNED:
        raise WorkflowError(UNPINNED)


rule fetch_asset:
    output:
        record=f"{CACHE}/assets/{{asset}}/SOURCE.json",
    log:
        "results/logs/fetch_asset/{asset}.log",
    benchmark:
        "results/logs/fetch_asset/{asset}.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        files=lambda w: local_files(STUDY.assets[w.asset]),
        spec=lambda w: spec_json(STUDY.assets[w.asset]),
    shell:
        "sft-tradeoff fetch --name {wildcards.asset:q}"
        " --spec {params.spec:q}"
        " --out {output.record:q}"
        " 2>&1 | tee {log:q}"


rule benchmark_data:
    input:
        source=lambda w: (
            ancient(asset_record(BENCHMARKS[w.benchmark].asset))
            if BENCHMARKS[w.benchmark].asset
            else []
        ),
    output:
        jsonl=f"{CACHE}/benchmarks/{{benchmark}}.jsonl",
    log:
        "results/logs/benchmark_data/{benchmark}.log",
    benchmark:
        "results/logs/benchmark_data/{benchmark}.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=benchmark_code(),
        source=lambda w, input: sources([BENCHMARKS[w.benchmark].asset], input),
    shell:
        "sft-tradeoff build-benchmark --name {wildcards.benchmark:q}"
        " {params.source}"
        " --out {output.jsonl:q}"
        " 2>&1 | tee {log:q}"


# The user's own file is not an input, since its time says nothing: params hold its checksum.
rule domain_data:
    input:
        records=lambda w: ancient(
            [asset_record(name) for name in DOMAINS[w.domain].assets]
        ),
    output:
        train=f"{RESULTS}/data/{{domain}}/train.jsonl",
        validation=f"{RESULTS}/data/{{domain}}/validation.jsonl",
        test=f"{RESULTS}/data/{{domain}}/test.jsonl",
        card=f"{RESULTS}/data/{{domain}}/card.md",
    log:
        f"{RESULTS}/logs/domain_data/{{domain}}.log",
    benchmark:
        f"{RESULTS}/logs/domain_data/{{domain}}.jsonl"
    conda:
        CONDA
    resources:
        # A JSON list of the hub, such as MetaMathQA, is read as a whole.
        mem_mb=lambda w, attempt: attempt
        * (
            (3000 if DOMAINS[w.domain].assets else 1000)
            + DOMAINS[w.domain].n_train // 100
        ),
        runtime=growing(30),
    params:
        code=lambda w: domain_code(DOMAINS[w.domain].name),
        digest=lambda w: own_data_digest(DOMAINS[w.domain].data_file),
        files=lambda w: [
            local_files(STUDY.assets[name]) for name in DOMAINS[w.domain].assets
        ],
        spec=lambda w: spec_json(DOMAINS[w.domain]),
        sources=lambda w, input: sources(DOMAINS[w.domain].assets, input),
        folder=lambda w, output: Path(output.card).parent,
    shell:
        "sft-tradeoff build-domain --spec {params.spec:q}"
        " {params.sources}"
        " --out {params.folder:q}"
        " 2>&1 | tee {log:q}"


rule tokenize:
    input:
        model=lambda w: model_record(w.model),
        data=f"{RESULTS}/data/{{domain}}/{{split}}.jsonl",
    output:
        tokens=f"{RESULTS}/tokenized/{{model}}/{{domain}}/{{split}}.npz",
        card=f"{RESULTS}/tokenized/{{model}}/{{domain}}/{{split}}.md",
    log:
        f"{RESULTS}/logs/tokenize/{{model}}.{{domain}}.{{split}}.log",
    benchmark:
        f"{RESULTS}/logs/tokenize/{{model}}.{{domain}}.{{split}}.jsonl"
    conda:
        CONDA
    resources:
        mem_mb=lambda w, attempt: attempt * (1000 + DOMAINS[w.domain].n_train // 30),
        runtime=growing(30),
    params:
        code=lambda w: tokenization_code(DOMAINS[w.domain].name),
        domain=lambda w: DOMAINS[w.domain].name,
        max_length=STUDY.training.max_length,
        model_digest=lambda w: model_digest(STUDY, w.model),
        model=lambda w, input: model_folder(input.model),
    shell:
        "sft-tradeoff tokenize --model {params.model:q}"
        " --domain {params.domain}"
        " --data {input.data:q}"
        " --max-length {params.max_length}"
        " --out {output.tokens:q}"
        " 2>&1 | tee {log:q}"
