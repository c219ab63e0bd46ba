"""The console command ``sft-tradeoff``: one subcommand per stage, which the rules call as well.

A stage is a module with ``add_arguments(parser)`` and ``main(args)``. Only the requested stage is
imported, so that ``--help`` needs no torch.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sft_tradeoff import __version__
from sft_tradeoff.system.home import supply_home

# Subcommand -> module and description, in the order of a study.
STAGES = {
    "check": ("study.checks", "check study files, or write their JSON schema"),
    "cost": ("planning.cost", "estimate what a study costs: GPU-hours, disk and memory"),
    "runs": ("study.runs", "print the run table of a study, or write it"),
    "own": ("planning.own", "run a study of your own data and model"),
    "study": ("planning.run_study", "run a study, or continue one that stopped"),
    "refine": ("planning.refine", "add learning rates to a finished study, near the tolerance"),
    "partial": ("planning.partial", "draw tables and figures of the finished runs of a study"),
    "redraw": ("planning.redraw", "redraw tables and figures of published studies"),
    "bench": ("planning.bench", "run the benchmarks"),
    "fetch": ("assets.fetch", "fetch one asset"),
    "build-model": ("models.build", "build the folder of a base model θ0"),
    "build-start": ("models.start", "build the folder of a θ0 that is the weights of a run"),
    "build-benchmark": ("suite.build", "build one task of the general suite"),
    "build-domain": ("domains.build", "write the examples of one domain"),
    "check-start": ("domains.apart", "check that nothing is tested that θ0 was trained on"),
    "tokenize": ("tokens.tokenize", "tokenize one split of a domain for one model"),
    "reference": ("training.reference", "compute θ0's statistics for one training split"),
    "answer-weights": (
        "report.answer_weights",
        "measure the weight that methods give to the answer, before training",
    ),
    "memory": ("training.memory", "estimate how much memory a run needs"),
    "train": ("selection.train", "fine-tune one model: train one run"),
    "merge": ("training.merge", "average the weights of a run with θ0's"),
    "evaluate": ("evaluation.evaluate", "evaluate the weights of one run"),
    "kl-reference": ("evaluation.kl_reference", "compute θ0's hidden states on test prompts"),
    "sample-texts": ("evaluation.sampled_texts", "sample texts from θ0, with its hidden states"),
    "noise-floor": ("evaluation.noise_floor", "measure the numerical noise of θ0's scores"),
    "aggregate": ("analysis.aggregate", "aggregate the evaluations of a study"),
    "token-tables": ("analysis.token_tables", "make the tables of a study's single tokens"),
    "tables": ("report.tables", "write the trade-off tables, or print them"),
    "figure": ("report.figures.draw", "draw one trade-off figure"),
    "cross-domain": ("report.cross_domain", "show what training on one domain does to the others"),
    "breakpoints": ("report.breakpoints", "write and draw the largest rates within the tolerance"),
    "recommend": ("report.recommend", "write the recommendation of a study"),
    "claims": ("report.claims", "hold a study against the claims in config/claims.yaml"),
    "report": ("report.page.write", "write the page of studies: one HTML file to explore them"),
    "theory": ("report.theory", "draw the paper's theory on small distributions"),
    "calibrate": ("report.calibration", "check the statistics on simulated studies"),
    "publish": ("report.publish", "freeze a finished study in results/published"),
    "lease": ("system.gpu_lease", "run a command with exclusive GPUs"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one stage.

    Args:
        argv: Arguments after the command's name; None: those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in STAGES:
        _overview().parse_args(arguments or ["--help"])  # ends the process
        return
    try:
        _run(*arguments)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _run(stage: str, *rest: str) -> None:
    _warn_of_other_code()
    supply_home(os.environ, Path(".snakemake/home"))
    module = importlib.import_module(f"sft_tradeoff.{STAGES[stage][0]}")
    parser = argparse.ArgumentParser(
        prog=f"sft-tradeoff {stage}", description=str(module.__doc__).splitlines()[0]
    )
    module.add_arguments(parser)
    module.main(parser.parse_args(rest))


def _warn_of_other_code() -> None:
    """Warn if another copy of the project is installed than the one in the current folder."""
    here, installed = Path("src/sft_tradeoff").absolute(), Path(__file__).parent
    if here.is_dir() and not here.samefile(installed):
        print(
            f"warning: the code that runs is in {installed}, not in {here}; if you mean this "
            "folder's, run make setup here with a .venv of its own",
            file=sys.stderr,
        )


def _overview() -> argparse.ArgumentParser:
    """Parser of a command line without a stage: help, version, or the list of stages."""
    parser = argparse.ArgumentParser(
        prog="sft-tradeoff",
        description="The stages of a study. 'make help' lists the commands that chain them.",
        epilog="sft-tradeoff STAGE --help lists the options of a stage.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    stages = parser.add_subparsers(title="stages", metavar="STAGE", required=True)
    for name, (_, description) in STAGES.items():
        stages.add_parser(name, help=description)
    return parser
