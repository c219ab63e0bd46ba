"""Estimate what a study costs, before any download: GPU-hours, disk and memory per model.

The numbers come from formulas, not from measurements. A forward pass of a model with P parameters
over one token takes 2P floating-point operations; a generation step reads every weight once. All
other assumptions are printed with the table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sft_tradeoff.assets.fetch import cache_dir
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.models.spec import built_model
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.planning.evaluation_cost import (
    FLOAT32,
    GB,
    Hardware,
    divergence_hours,
    evaluation_hours,
    rescoring_hours,
    validation_hours,
)
from sft_tradeoff.planning.example_tokens import CostError, example_tokens
from sft_tradeoff.planning.refine_cost import refinement_text
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.study.added_rates import with_most_rates
from sft_tradeoff.study.checks import check_files
from sft_tradeoff.study.config import Study, load_study
from sft_tradeoff.study.runs import (
    RunConfig,
    evaluation_configs,
    expand_runs,
)
from sft_tradeoff.study.starts import root_of, start_of, started
from sft_tradeoff.suite.base import ITEM_TOKENS
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import run_main
from sft_tradeoff.training.memory import estimate, model_size

if TYPE_CHECKING:
    from transformers import PretrainedConfig

N_JOBS = 1


@dataclass(frozen=True)
class ModelCost:
    """The estimate for one model; sizes in bytes, times in GPU-hours.

    Args:
        model: Name in the study.
        n_parameters: P.
        n_trained: Runs that train.
        n_averaged: Runs that average the weights of others.
        n_tokens: Tokens of all training, repeats included.
        training: Training and θ0's statistics.
        evaluation: All runs, θ0 and its noise floor included.
        cache: Fetched and converted weights.
        weights: Trained weights that exist at one time.
        resume: Resume points that exist at one time.
        memory: Largest memory of a training process.
        memory_method: The method that needs it.
    """

    model: str
    n_parameters: int
    n_trained: int
    n_averaged: int
    n_tokens: float
    training: float
    evaluation: float
    cache: int
    weights: int
    resume: int
    memory: int
    memory_method: str


def passes(run: RunConfig) -> float:
    """Return the passes over each training token, in units of a forward pass.

    One forward and two backward, for activations and for weights; adapters need only the first of
    these. One more for each of: recomputed layers (gradient checkpointing), θ0 beside the model,
    losses of the whole batch before its first micro-batch, losses under an earlier model.
    """
    method, training = METHODS[run.method.name], run.training
    options = method.options(**run.method.options)
    share = math.ceil(training.batch_size / training.processes)
    ahead = method.weights and options.whole_batch and share > training.micro_batch_size
    more = [training.gradient_checkpointing, method.penalty, ahead, "old_nll" in options.needs]
    return (2 if method.adapter else 3) + sum(map(bool, more))


def training_tokens(study: Study, run: RunConfig) -> float:
    """Return the number of tokens that one run trains on."""
    per_example = sum(example_tokens(study, run.model, run.domain))
    return run.training.epochs * run.domain.n_train * per_example


def training_hours(study: Study, runs: list[RunConfig], n: int, hardware: Hardware) -> float:
    """Return the GPU-hours of a model's training, and of what belongs to it.

    That is θ0's statistics if a method reads them or KL is measured (for θ0's mean probability of
    the training data), and the scores of every epoch if a run chooses
    among them; meanwhile all but one of its processes wait.
    """
    flops = sum(2 * n * passes(run) * training_tokens(study, run) for run in runs)
    wanted = bool(study.evaluation.kl_positions)
    domains = {run.domain.label: run.domain for run in runs if wanted or run.needs_reference}
    for domain in domains.values():
        flops += 2 * n * domain.n_train * sum(example_tokens(study, runs[0].model, domain))
    waiting = sum(validation_hours(study, run, n, hardware) for run in runs)
    return hardware.hours(flops) + study.training.processes * waiting


def architecture(study: Study, name: str) -> PretrainedConfig:
    """Return a model's Transformers configuration, from the cache or from the catalogue.

    Raises:
        CostError: If neither has it.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    name = root_of(study, name)  # a model that starts from a run has its architecture
    spec, folder = study.model_catalogue[name], built_model(cache_dir(), name)
    if (folder / "config.json").is_file():
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = str(spec.architecture.get("model_type"))
    if kind in CONFIG_MAPPING:
        fields: dict[str, Any] = dict(spec.architecture)
        found: PretrainedConfig = CONFIG_MAPPING[kind](**fields)
        return found
    if spec.architecture:
        raise CostError(
            f"model {name!r}: architecture.model_type {kind!r} is unknown to Transformers; copy it "
            "from the model's config.json"
        )
    raise CostError(
        f"model {name!r}: its size is unknown until it is fetched; add 'architecture' (model_type, "
        "hidden_size, ... of its config.json) to its entry in the catalogue, or fetch it with "
        "'snakemake material'"
    )


def _described(study: Study, name: str) -> tuple[PretrainedConfig, int]:
    """A model's configuration and its number of parameters."""
    try:
        config = architecture(study, name)
        return config, model_size(config).total
    except CostError:
        raise
    except Exception as error:  # Transformers raises whatever a wrong number leads to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CostError(
            f"model {name!r}: architecture does not describe a model ({reason[:200]}); copy the "
            "numbers from its config.json"
        ) from error


def model_cost(study: Study, name: str, hardware: Hardware, n_jobs: int = N_JOBS) -> ModelCost:
    """Estimate what one model of a study costs.

    Args:
        study: The study.
        name: One of its models.
        hardware: Assumptions about the GPUs.
        n_jobs: Training jobs that run at a time.
    """
    config, n = _described(study, name)
    runs = [run for run in expand_runs(study) if run.model == name]
    trained = [run for run in runs if run.merge_of is None]
    checkpoints = [c for c in evaluation_configs(study).values() if c.model == name]
    item_bytes = 2 if study.training.precision == "bf16_pure" else 4
    n_shards = study.training.processes if study.training.sharding == "fsdp" else 1
    # Of a multimodal model the language model is stored beside the whole, 1.15 times as large.
    is_multimodal = config.model_type.endswith("_text")
    per_parameter = {"safetensors": 4.3 if is_multimodal else 2, "gguf": 3, "random": 4}  # bytes
    needs = {}
    for run in {run.method.label: run for run in trained}.values():
        found = estimate(config, run, study.training.max_length, n_shards, on_gpu=True)
        needs[found.total] = str(run.method.label), found.n_trained
    waiting = len({run.merge_of for run in runs if run.merge_of})
    n_kept = len(runs) if study.keep_models else min(len(runs), n_jobs + waiting)
    is_started = start_of(study, name) is not None
    n_kept += is_started  # θ0 itself, which stays among the results
    if study.training.select == "best_domain":  # the best so far and those being scored
        n_kept += 2 * n_jobs
    return ModelCost(
        model=name,
        n_parameters=n,
        n_trained=len(trained),
        n_averaged=len(runs) - len(trained),
        n_tokens=sum(training_tokens(study, run) for run in trained),
        training=training_hours(study, trained, n, hardware),
        evaluation=sum(evaluation_hours(study, c, n, hardware) for c in checkpoints)
        + rescoring_hours(study, checkpoints, n, hardware)
        + divergence_hours(study, checkpoints, n, hardware),
        cache=0 if is_started else int(n * per_parameter[study.model_catalogue[name].format]),
        weights=item_bytes * n * n_kept,
        # Master weights and AdamW's two moments; the old point is deleted after the new is written.
        resume=n_jobs * 2 * 3 * item_bytes * max(count for _, count in needs.values()),
        memory=max(needs),
        memory_method=needs[max(needs)][0],
    )


def assumptions(study: Study, hardware: Hardware, n_jobs: int = N_JOBS) -> Iterator[str]:
    """Yield all assumptions behind the numbers."""
    training, h = study.training, hardware
    yield (
        f"One GPU reaches {h.tflops * h.utilization:.3g} TFLOP/s in training and scoring "
        f"({h.utilization:.0%} of {h.tflops:g}); scaling over processes is linear. Models far "
        "below 1 B parameters do not saturate a GPU and take longer."
    )
    yield (
        "A forward pass costs 2P per token, a backward pass 4P (adapters: 2P); one more forward "
        "pass each for gradient checkpointing, θ0 beside the model (kl_reg, asft), weights of the "
        "whole batch if it has several micro-batches (talr, ...), an old model (psft). Attention "
        "over long texts, padding, loading and saving are left out."
    )
    lengths = ", ".join(f"{domain.label} {_tokens(study, domain)}" for domain in study.domains)
    yield (
        f"Tokens of prompt + response per example: {lengths}; {training.epochs:g} epochs. Counted "
        "in results/<study>/tokenized if it exists; otherwise guesses for data sets from the hub."
    )
    yield (
        f"Writing a token takes max(2P bytes / {h.bandwidth:g} GB/s, {h.step_s:g} s with backend "
        f"hf) per batch of {study.evaluation.batch_size} (larger batches where "
        "batch_tokens allows); answers are as long as the reference, "
        f"and {ITEM_TOKENS['generation'][1]} tokens in the general suite. With backend hf trained "
        "weights are read and multiplied in two bfloat16 parts, so P counts twice, except for θ0."
    )
    yield (
        "Right answers and texts are scored again: of every run with rounded weights, and of θ0 "
        f"twice in smaller batches and once in float32, which takes {FLOAT32} times as long."
        " So does KL(θ0‖θ), on a few prompts of each domain and on texts sampled from θ0."
    )
    yield (
        f"{n_jobs} training job(s) at a time. Weights on disk: at most one set per job and "
        "those that averages wait for, or all with keep_models; resume points twice while one is "
        "replaced. The cache holds weights once, and twice where a language model is extracted "
        "from a multimodal one (Gemma 3)."
    )
    if study.training.select == "best_domain":
        yield (
            "Training includes scoring the validation examples after every epoch, like test "
            "examples; one process does it while the others wait. Each job keeps two more sets of "
            "weights: the best so far, and those being scored."
        )
    if models := started(study):
        yield (
            f"The weights that {', '.join(models)} start from are those of a run, which is counted "
            "with its own model; they stay on the disk."
        )
    yield (
        f"Memory per process with {training.max_length} tokens in each of the "
        f"{training.micro_batch_size} sequences of a micro-batch, of the method that needs most "
        "(sft_tradeoff.training.memory)."
    )
    with_adapters = {m.name: m for m in study.methods if METHODS[m.name].adapter}
    for name, method in itertools.product(study.models, with_adapters.values()):
        size = model_size(architecture(study, name), method.adapter())
        yield (
            f"{method.name} has adapters in layers with {size.adapted:.0%} of the weights of "
            f"{name}; the others stay as they are."
        )


def _tokens(study: Study, domain: DomainSpec) -> str:
    return " + ".join(f"{n:.0f}" for n in example_tokens(study, study.models[0], domain))


def markdown(costs: list[ModelCost]) -> str:
    """Return the table, with a row of sums."""
    rows = [_cells(cost) for cost in costs]

    def total(key: str) -> float:
        return sum(getattr(cost, key) for cost in costs)

    sums = {
        "model": "all",
        "runs (averages)": f"{total('n_trained')} ({total('n_averaged')})",
        "training tokens": f"{total('n_tokens') / 1e6:.1f} M",
        "training GPU-h": f"{total('training'):.1f}",
        "evaluation GPU-h": f"{total('evaluation'):.1f}",
        "cache GB": f"{total('cache') / GB:.1f}",
    }
    header = list(rows[0])
    cells = [[row.get(key, "") for key in header] for row in [*rows, sums]]
    return markdown_table(header, cells, n_left=1)


def _cells(c: ModelCost) -> dict[str, str]:
    """One row of the table, by heading."""
    return {
        "model": c.model,
        "parameters": f"{c.n_parameters / 1e9:.2f} B",
        "runs (averages)": f"{c.n_trained} ({c.n_averaged})",
        "training tokens": f"{c.n_tokens / 1e6:.1f} M",
        "training GPU-h": f"{c.training:.1f}",
        "evaluation GPU-h": f"{c.evaluation:.1f}",
        "cache GB": f"{c.cache / GB:.1f}",
        "weights GB": f"{c.weights / GB:.1f}",
        "resume points GB": f"{c.resume / GB:.1f}",
        "memory per GPU GiB": f"{c.memory / 2**30:.0f} ({c.memory_method})",
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff cost``."""
    parser.add_argument("--study", required=True, help="study file")
    assumptions = {
        "tflops": "peak bfloat16 throughput of one GPU, in 10¹² operations per second",
        "utilization": "fraction of that peak that training and scoring reach, from 0 to 1",
        "bandwidth": "memory bandwidth of one GPU, in 10⁹ bytes per second",
        "step_s": "shortest time of a generation step, in seconds",
    }
    for name, value in asdict(Hardware()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=float,
            default=value,
            metavar="NUMBER",
            help=f"{assumptions[name]} (default: %(default)s)",
        )
    parser.add_argument(
        "--jobs",
        type=int,
        default=N_JOBS,
        help="training jobs that run at the same time (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> None:
    """Print the estimate of a study."""
    with run_main("cost"):
        study = load_study(args.study)
        check_files(study, args.study, BENCHMARKS)
        hardware = Hardware(args.tflops, args.utilization, args.bandwidth, args.step_s)
        costs = [model_cost(study, name, hardware, args.jobs) for name in study.models]
        stated = list(assumptions(study, hardware, args.jobs))
        if args.json:
            facts: dict[str, Any] = {"hardware": asdict(hardware), "assumptions": stated}
            print(json.dumps({"models": [asdict(c) for c in costs], **facts}, indent=2))
            return
        print(f"Estimate by formula, not measured: study {study.study}\n\n{markdown(costs)}\n")
        if study.refine:
            most = with_most_rates(study)
            further = [model_cost(most, name, hardware, args.jobs) for name in study.models]
            both = ([asdict(cost) for cost in part] for part in (costs, further))
            print(f"{refinement_text(*both)}\n")
        print("\n".join(f"- {line}" for line in stated))
