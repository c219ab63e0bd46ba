# Helpers only; every rule lives in the file named after its stage.
import json
import os
import shlex
import sys
from pathlib import Path

# The output of jobs goes to logs, where progress bars are noise.
for bars in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS"):
    os.environ.setdefault(bars, "1")

from snakemake.exceptions import WorkflowError

from sft_tradeoff.analysis.base_probability import summary_path
from sft_tradeoff.assets.fetch import asset_path, cache_dir
from sft_tradeoff.models.spec import MODEL_RECIPE_VERSION, built_model
from sft_tradeoff.planning.jobs import (
    aggregation_code,
    answer_weights_code,
    benchmark_code,
    domain_code,
    growing,
    local_files,
    memory_mb,
    model_folder,
    one_of,
    own_data_digest,
    source_arguments,
    spec_json,
    start_check_code,
    task_files_digest,
    tokenization_code,
)
from sft_tradeoff.study.added_rates import FILE as ADDED_RATES_FILE
from sft_tradeoff.study.added_rates import with_added_rates
from sft_tradeoff.study.checks import check_files, unpinned_assets
from sft_tradeoff.study.config import parse_study
from sft_tradeoff.study.names import measures_text
from sft_tradeoff.study.runs import (
    DIVERGENCE_RECIPE_VERSION,
    TOKEN_TABLES,
    TRAIN_RECIPE_VERSION,
    aggregated_tables,
    answer_weight_files,
    base_run,
    evaluation_configs,
    expand_runs,
    model_digest,
    start_run,
    weighing_methods,
)
from sft_tradeoff.study.starts import root_of, started, starts_of
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.gpu_lease import n_visible
from sft_tradeoff.system.strict_yaml import read_yaml
from sft_tradeoff.system.text import escaped

STUDY_FILES = ", ".join(map(str, workflow.configfiles)) or "study"
if not config:
    raise WorkflowError("No study given; add --configfile config/studies/quick.yaml")
try:
    for file in workflow.configfiles:
        read_yaml(file)  # refuses what Snakemake's own reader drops or misreads
    STUDY = with_added_rates(parse_study(config, STUDY_FILES))
    check_files(STUDY, STUDY_FILES, BENCHMARKS)
    UNPINNED = unpinned_assets(STUDY, STUDY_FILES)
    RUNS = {run.run: run for run in expand_runs(STUDY)}
    TRAINED = [name for name, run in RUNS.items() if run.merge_of is None]
    MERGED = [name for name, run in RUNS.items() if run.merge_of is not None]
    EVALUATIONS = evaluation_configs(STUDY)
    STARTS = {model: start_run(STUDY, model) for model in started(STUDY)}
    CACHE = str(cache_dir())
except UserError as error:
    raise WorkflowError(escaped(str(error))) from None
if UNPINNED:  # a dry run goes on; see onstart
    print(f"Warning: {UNPINNED}", file=sys.stderr)

if STUDY.refine:

    onsuccess:
        if Path(RESULTS, "tradeoff_over_seeds.csv").exists():
            print(
                f"To add learning rates near the tolerance, run sft-tradeoff refine {STUDY.study} and"
                " this command again, until none are added; sft-tradeoff study does so by itself.",
                file=sys.stderr,
            )


RESULTS = f"results/{STUDY.study}"
DOMAINS = {domain.label: domain for domain in STUDY.domains}
GRADER_ASSETS = {
    asset for task in STUDY.evaluation.tasks if (asset := BENCHMARKS[task].grader_asset)
}
CONDA = "../../environment.yml"

N_GPUS = n_visible(os.environ)
# The lease alone would do, but jobs waiting for one would occupy cores.
if N_GPUS and workflow.local_exec and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", N_GPUS)


wildcard_constraints:
    asset="[A-Za-z0-9_-]+",
    model="[A-Za-z0-9_-]+",
    benchmark="[A-Za-z0-9_-]+",
    domain="[A-Za-z0-9_-]+",
    split="train|validation|test",
    run=one_of(TRAINED),
    merged=one_of(MERGED),
    evaluated=one_of(EVALUATIONS),


# Not only among the parameters: copied results have no record of those.
ADDED_RATES = [
    path
    for path in [f"{RESULTS}/{ADDED_RATES_FILE}"]
    if STUDY.refine and os.path.exists(path)
]

# For report.smk, which draws published studies as well.
TABLES_FROM = REPORT = RESULTS
FIGURES_TO = f"{RESULTS}/figures"
LOGS = f"{RESULTS}/logs"
RUN_FILES = [
    *expand(f"{RESULTS}/runs/{{run}}/eval.json", run=list(EVALUATIONS)),
    *expand(f"{RESULTS}/runs/{{run}}/items.parquet", run=list(EVALUATIONS)),
    *expand(f"{RESULTS}/runs/{{run}}/answers.parquet", run=list(EVALUATIONS)),
    *expand(f"{RESULTS}/runs/{{run}}/train.json", run=list(RUNS)),
    *expand(f"{RESULTS}/noise_floor/{{model}}.json", model=STUDY.models),
]
SETTINGS_FILE = str(workflow.configfiles[-1]) if workflow.configfiles else ""
ANSWER_WEIGHTS = [f"{RESULTS}/{name}" for name in answer_weight_files(STUDY)]
# θ0's mean probability of the training data, a column of the trade-off.
BASE_PROBABILITIES = (
    sorted(
        {
            str(summary_path(Path(RESULTS, "runs"), r.model, r.domain.label))
            for r in RUNS.values()
        }
    )
    if STUDY.evaluation.kl_positions
    else []
)
TABLES = aggregated_tables(STUDY)
# More outputs of a study whose runs choose among their epochs.
SCORES_OF_EPOCHS, EPOCHS = {}, {}
if STUDY.training.select == "best_domain":
    SCORES_OF_EPOCHS["epochs"] = f"{RESULTS}/runs/{{run}}/epochs.parquet"
    EPOCHS["epochs"] = f"{RESULTS}/epochs.csv"
    RUN_FILES += expand(SCORES_OF_EPOCHS["epochs"], run=TRAINED)
# And of one that compares options of TALR.
TALR_OPTIONS = {
    "talr_options": f"{RESULTS}/{name}" for name in TABLES if name == "talr_options.csv"
}


TEST_TOKENS, TRAINING_TOKENS = {}, {}
if STUDY.record_tokens:
    TEST_TOKENS["tokens"] = f"{RESULTS}/runs/{{evaluated}}/tokens.parquet"
    TRAINING_TOKENS["tokens"] = f"{RESULTS}/runs/{{run}}/training_tokens.parquet"
    RUN_FILES += expand(TEST_TOKENS["tokens"], evaluated=list(EVALUATIONS))
    RUN_FILES += expand(TRAINING_TOKENS["tokens"], run=TRAINED)


def MEASURES(wildcards, key):
    """The study's tolerance or smallest gain, as an option of the recommendation."""
    return measures_text(getattr(STUDY, key))


def gpus(processes=1):
    """GPUs of a job; a single process asks for none on a machine without GPUs."""
    return processes if N_GPUS or processes > 1 else None


def asset_record(name):
    """Record of a fetched asset."""
    return f"{CACHE}/assets/{name}/SOURCE.json"


def asset_folder(name):
    """Folder of an asset's files: in the cache, or the user's own."""
    return str(asset_path(Path(CACHE), name, STUDY.assets[name]))


if GRADER_ASSETS:  # nltk looks for its model where this variable says
    os.environ.update(
        NLTK_DATA=os.pathsep.join(map(asset_folder, sorted(GRADER_ASSETS)))
    )


def model_record(name):
    """θ0's record. Its age does not matter, because every config holds the model's digest.

    That of a model which starts from a run counts: the digest does not cover the run's examples.
    """
    if name in STARTS:
        return f"{RESULTS}/models/{name}/MODEL.json"
    return ancient(str(built_model(Path(CACHE), name) / "MODEL.json"))


# A started model is as large as the pretrained one, which is known earlier.
SAME_SIZE = {
    model_record(model): str(model_record(root_of(STUDY, model))) for model in STARTS
}


def apart(run):
    """Checks of the models that start from a run, so that they fail before it is trained."""
    return [
        ancient(f"{RESULTS}/models/{model}.apart.json")
        for model, start in STARTS.items()
        if start.run == run.run
    ]


def tokenized(run, split):
    """Tokens that a run trains on."""
    return f"{RESULTS}/tokenized/{run.model}/{run.domain.label}/{split}.npz"


def validation(run):
    """Validation examples as text and as tokens, for a run that chooses among its epochs."""
    if run.validation is None:
        return []
    return [
        f"{RESULTS}/data/{run.domain.label}/validation.jsonl",
        tokenized(run, "validation"),
    ]


def validation_arguments(files):
    """Arguments that tell training where they are."""
    if not files:
        return ""
    return "--validation {} --validation-tokens {}".format(*map(shlex.quote, files))


def reference(run):
    """θ0's losses, for the runs whose method reads them."""
    if not run.needs_reference:
        return []
    return f"{RESULTS}/reference/{run.model}/{run.domain.label}.parquet"


def any_reference(wildcards):
    """θ0's losses for a model and domain, if any run reads them."""
    here = (wildcards.model, wildcards.domain)
    runs = (run for run in RUNS.values() if (run.model, run.domain.label) == here)
    return next(filter(None, map(reference, runs)), [])


def weights(folder):
    """Output folder of weights, removed after its last use unless the study keeps it."""
    return directory(folder) if STUDY.keep_models else temp(directory(folder))


def evaluated_weights(wildcards):
    """Weights to evaluate: a run's own folder, or θ0."""
    if wildcards.evaluated in RUNS:
        return f"{RESULTS}/runs/{wildcards.evaluated}/model"
    return model_record(EVALUATIONS[wildcards.evaluated].model)


def evaluation_data(wildcards, pattern):
    """One path per domain on which weights are evaluated."""
    evaluation = EVALUATIONS[wildcards.evaluated]
    return [
        pattern.format(model=evaluation.model, domain=domain.label)
        for domain in evaluation.domains
    ]


def kl_references(wildcards):
    """θ0's hidden states on the prompts of the domains on which weights are evaluated."""
    divergence = EVALUATIONS[wildcards.evaluated].divergence
    if divergence is None or not divergence.kl_positions:
        return []
    return evaluation_data(
        wildcards, f"{RESULTS}/kl_reference/{{model}}/{{domain}}.npz"
    )


def sampled_texts(wildcards):
    """Texts sampled from θ0, if the study compares code lengths on them."""
    evaluation = EVALUATIONS[wildcards.evaluated]
    if evaluation.divergence is None or not evaluation.divergence.sampled_texts:
        return []
    return f"{RESULTS}/sampled_texts/{evaluation.model}.npz"


def state_arguments(prompts, texts):
    """Arguments that tell an evaluation where θ0's hidden states are."""
    found = [f"--kl-references {shlex.join(prompts)}"] if prompts else []
    return " ".join(
        found + ([f"--sampled-texts {shlex.quote(texts)}"] if texts else [])
    )


def sources(assets, records):
    """Arguments that tell a stage where its assets are; none if it reads none."""
    return source_arguments([asset_folder(name) for name in assets if name], records)
