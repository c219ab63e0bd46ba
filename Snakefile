# From study file to trade-off figure. See README.md, and config/README.md for the keys of a study.
from snakemake.utils import min_version

min_version("9.0")


if config.get("results_source") == "published":

    # Its own rules: nothing that trains or evaluates is even defined.
    module published:
        snakefile:
            "workflow/published.smk"
        config:
            config

    use rule * from published

else:

    include: "workflow/rules/common.smk"
    include: "workflow/rules/data.smk"
    include: "workflow/rules/models.smk"
    include: "workflow/rules/train.smk"
    include: "workflow/rules/evaluate.smk"
    include: "workflow/rules/aggregate.smk"
    include: "workflow/rules/report.smk"

    # On a cluster: jobs that need a network, or take less time than waiting in a queue.
    localrules:
        all,
        trained,
        material,
        fetch_asset,
        run_table,
        aggregate,
        token_tables,
        tables,
        figure,
        recommend,
        cross_domain,
        breakpoints,
        claims,
        page,

    rule all:
        default_target: True
        input:
            tables=multiext(f"{RESULTS}/tables/tradeoff", ".csv", ".md", ".tex"),
            figures=expand(
                f"{RESULTS}/figures/{{figure}}.{{format}}",
                figure=drawable(TABLES),
                format=["pdf", "png", "csv"],
            ),
            recommendation=f"{RESULTS}/recommendation.md",
            cross_domain=(
                f"{FIGURES_TO}/cross_domain.md" if STUDY.scores_other_domains else []
            ),
            breakpoints=f"{FIGURES_TO}/breakpoints.md",
            claims=f"{REPORT}/claims.md",
            page=f"{REPORT}/report.html",
            starts=expand(f"{RESULTS}/models/{{model}}.apart.json", model=list(STARTS)),
            # Named, so that a damaged file which was deleted is made again.
            tradeoff=rules.aggregate.output,
            runs=RUN_FILES,

    rule trained:
        input:
            expand(f"{RESULTS}/runs/{{run}}/train.json", run=list(RUNS)),

    # What needs a network: fetch it before going where there is none.
    rule material:
        input:
            [model_record(model) for model in STUDY.models if model not in STARTS],
            expand(f"{CACHE}/benchmarks/{{task}}.jsonl", task=STUDY.evaluation.tasks),
            [asset_record(asset) for asset in GRADER_ASSETS],
            [asset_record(name) for domain in STUDY.domains for name in domain.assets],
