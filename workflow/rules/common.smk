# Helpers only; every rule lives in the file named after its stage.
import glob
import json
import os
import re
import shlex
import sys
from pathlib import Path

# Jobs write to logs; they report progress in lines.
for bars in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS"):
    os.environ.setdefault(bars, "1")

from snakemake.exceptions import WorkflowError

from sft_tradeoff.assets.fetch import asset_path, cache_dir
from sft_tradeoff.models.spec import MODEL_RECIPE_VERSION
from sft_tradeoff.report.figures import FIGURES
from sft_tradeoff.study.checks import check_domains, check_files, unpinned_assets
from sft_tradeoff.study.config import parse_study
from sft_tradeoff.study.names import measures_text
from sft_tradeoff.study.runs import evaluation_configs, expand_runs
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.files import sha256_of
from sft_tradeoff.system.gpu_lease import n_visible
from sft_tradeoff.system.strict_yaml import read_yaml
from sft_tradeoff.system.validation import ConfigError

STUDY_FILES = ", ".join(map(str, workflow.configfiles)) or "study"
if not config:
    raise WorkflowError("No study given; add --configfile config/studies/quick.yaml")
try:
    for file in workflow.configfiles:
        read_yaml(file)  # refuses what Snakemake's own reader drops or reads otherwise
    STUDY = parse_study(config, STUDY_FILES)
    check_files(STUDY, STUDY_FILES, BENCHMARKS)
    check_domains(STUDY, STUDY_FILES)
    UNPINNED = unpinned_assets(STUDY, STUDY_FILES)
    RUNS = {run.run: run for run in expand_runs(STUDY)}
    TRAINED = [name for name, run in RUNS.items() if run.merge_of is None]
    MERGED = [name for name, run in RUNS.items() if run.merge_of is not None]
    EVALUATIONS = evaluation_configs(STUDY)
except ConfigError as error:
    raise WorkflowError(str(error)) from None
if UNPINNED:  # a dry run goes on; see onstart
    print(f"Warning: {UNPINNED}", file=sys.stderr)

CACHE = str(cache_dir())
RESULTS = f"results/{STUDY.study}"
DOMAINS = {domain.label: domain for domain in STUDY.domains}
GRADER_ASSETS = {
    asset for task in STUDY.evaluation.tasks if (asset := BENCHMARKS[task].grader_asset)
}
CONDA = "../../environment.yml"

N_GPUS = n_visible(os.environ)
# The lease alone would do, but jobs that wait for it would keep cores from others.
if N_GPUS and workflow.local_exec and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", N_GPUS)


def one_of(names):
    """Pattern that matches exactly these names; no name at all matches nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    asset="[A-Za-z0-9_-]+",
    model="[A-Za-z0-9_-]+",
    benchmark="[A-Za-z0-9_-]+",
    domain="[A-Za-z0-9_-]+",
    split="train|test",
    run=one_of(TRAINED),
    merged=one_of(MERGED),
    evaluated=one_of(EVALUATIONS),


def spec_json(spec):
    """Settings as JSON text; as a `params:` value it tells Snakemake exactly when to repeat a job."""
    return json.dumps(spec.model_dump(mode="json"), sort_keys=True)


def gpus(processes=1):
    """GPUs of a job; on a machine without any a process alone does not ask for one."""
    return processes if N_GPUS or processes > 1 else None


def growing(amount):
    """A resource of which every further attempt gets as much again."""
    return lambda wildcards, attempt: amount * attempt


def memory_mb(smallest, bytes_per_parameter, processes=1):
    """Memory of a job: measured for a small model, and what further parameters take."""

    def needed(wildcards, input, attempt):
        record = next(Path(path) for path in input if path.endswith("MODEL.json"))
        n = json.loads(record.read_text())["n_parameters"] if record.exists() else 0
        further = max(0, n - 135_000_000) * bytes_per_parameter // 10**6
        return attempt * processes * (smallest + further)

    return needed


def asset_record(name):
    return f"{CACHE}/assets/{name}/SOURCE.json"


def asset_folder(name):
    """Where an asset's files are: in the cache, or where the user has them."""
    return str(asset_path(Path(CACHE), name, STUDY.assets[name]))


if GRADER_ASSETS:  # nltk looks for its model where this variable says
    os.environ.update(
        NLTK_DATA=os.pathsep.join(map(asset_folder, sorted(GRADER_ASSETS)))
    )


def model_record(name):
    """θ0's record. Its age never matters: the digest of what it is made of is in every config."""
    return ancient(f"{CACHE}/models/{name}/MODEL.json")


def data_digest(domain):
    """Hash of the user's own file, which can be older than what was made of a former one."""
    own = domain.data_file and os.path.isfile(domain.data_file)
    return sha256_of(domain.data_file) if own else ""


def own_files(asset):
    """State of an asset's files where the user has them, who may change them."""
    spec = STUDY.assets[asset]
    if spec.source != "local":
        return ""
    root = Path(spec.path).expanduser()
    files = (
        [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    )
    return [f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]


def tokenized(run, split):
    return f"{RESULTS}/tokenized/{run.model}/{run.domain.label}/{split}.npz"


def reference(run):
    """θ0's losses, for the runs whose method reads them."""
    if not run.needs_reference:
        return []
    return f"{RESULTS}/reference/{run.model}/{run.domain.label}.parquet"


def weights(folder):
    """Declare an output folder of weights, removed after its last use unless the study keeps it."""
    return directory(folder) if STUDY.keep_models else temp(directory(folder))


def checkpoint(wildcards):
    """Weights to evaluate: a run's own folder, or θ0."""
    if wildcards.evaluated in RUNS:
        return f"{RESULTS}/runs/{wildcards.evaluated}/model"
    return model_record(EVALUATIONS[wildcards.evaluated].model)


def evaluation_data(wildcards, pattern):
    """One path per domain on which a checkpoint is evaluated."""
    evaluation = EVALUATIONS[wildcards.evaluated]
    return [
        pattern.format(model=evaluation.model, domain=domain.label)
        for domain in evaluation.domains
    ]


def folder_of(path):
    """A checkpoint folder from either a folder or the record inside it."""
    return os.path.dirname(str(path)) if str(path).endswith("MODEL.json") else path


def domain_records(domain):
    """Records of the assets that a domain is read from; none if it is generated."""
    return [asset_record(name) for name in domain.assets]


def domain_files(domain):
    """What :func:`own_files` says of all assets of a domain."""
    return [own_files(name) for name in domain.assets]


def domain_modules(domain):
    """Code whose change makes a domain's examples anew."""
    home = "src/sft_tradeoff/domains/" + domain.module().partition(".")[0]
    return glob.glob(f"{home}/*.py") + glob.glob(f"{home}.py")


def domain_sources(domain, input):
    """Arguments that tell the domain_data stage where its assets are."""
    if not input.records:
        return ""
    folders = [asset_folder(name) for name in domain.assets]
    return f"--source {shlex.join(folders)} --source-record {shlex.join(input.records)}"


def benchmark_source(name, input):
    """Arguments that tell the benchmark_data stage where its asset is; none if items are generated."""
    if not input.source:
        return ""
    path = asset_folder(BENCHMARKS[name].asset)
    return f"--source {shlex.quote(path)} --source-record {shlex.quote(input.source)}"


def model_source(name, input):
    """Arguments that tell the base_model stage where its asset is."""
    if not input:
        return ""
    path = asset_folder(STUDY.model_catalogue[name].asset)
    return f"--source {shlex.quote(path)} --source-record {shlex.quote(input.source)}"
