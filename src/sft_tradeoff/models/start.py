"""Build the folder of a θ0 that is the final weights of a run.

It holds what the folder of a pretrained θ0 holds, after the same checks, and outlives the run's own
folder, which is removed after its evaluation: both are links to the same files, so that they take
the disk's space only once. Its ``MODEL.json`` has the name and the asset of the pretrained model,
where license and chat template come from, and lists the runs under ``trained``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sft_tradeoff.models.build import build_model, parse_model
from sft_tradeoff.models.folder import ModelError, check_small_files, check_weights, read_record
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import read_json

TRAINED = "trained"  # key of the asset in ``MODEL.json``: the runs, the first one first


def build_start(
    name: str, spec: ModelSpec, trained: Path, report: Path, base_model: Path, out: Path
) -> None:
    """Build the folder of a model that starts from a run.

    Args:
        name: The model's name in the study, for messages.
        spec: Its settings, with ``start_from``.
        trained: The run's final weights.
        report: The run's ``train.json``.
        base_model: The run's own θ0.
        out: Folder to write, replaced as a whole.

    Raises:
        ModelError: If the weights have changed since they were trained, or cannot be used.
    """
    if spec.start_from is None:
        raise ModelError(f"model {name!r}: start_from is not set; use build-model")
    check_weights(trained)
    check_small_files(trained)
    base = read_record(base_model)
    of_template = ("chat_template", "chat_template_args")
    settled = {key: base["built_from"][key] for key in of_template}
    run = {
        "config": read_json(report)["run_info"]["config"],
        "sha256": read_record(trained)["sha256"],
    }
    asset: dict[str, Any] = base["built_from"]["asset"]
    asset = {"license": base["license"], **asset, TRAINED: [*asset.get(TRAINED, ()), run]}
    build_model(base["name"], spec.model_copy(update=settled), trained, out, asset)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff build-start``."""
    parser.add_argument("--name", required=True, help="the model's name in the study")
    parser.add_argument("--spec", required=True, help="JSON of its entry, with start_from")
    parser.add_argument("--trained", type=Path, required=True, help="the run's final weights")
    parser.add_argument("--report", type=Path, required=True, help="the run's train.json")
    parser.add_argument("--base-model", type=Path, required=True, help="folder of the run's θ0")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")


def main(args: argparse.Namespace) -> None:
    """Build the folder of one started model."""
    with run_main(args.name):
        spec = parse_model(args.name, args.spec)
        build_start(args.name, spec, args.trained, args.report, args.base_model, args.out)
