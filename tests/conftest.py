"""Shared material: the random model, built once, and the pretrained one, fetched once."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# How long an example takes says nothing on a shared machine. The same examples every time, unless
# pytest is called with `--hypothesis-profile explore`: see the README, "Random tests".
settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", settings.get_profile("same"), derandomize=False, print_blob=True
)
settings.load_profile("same")
# It would also try the constants of all modules imported so far, which depend on the tests before.
providers._get_local_constants = lambda: providers._local_constants
os.environ.setdefault("HF_HUB_OFFLINE", "1")
for name in ("STUDY", "CORES"):  # `make test` exports them; a test that runs make chooses its own
    os.environ.pop(name, None)
ROOT = Path(__file__).resolve().parents[1]
ODD_NAME = 'l\'été $HOME; "a" & (b) *'


def pytest_configure(config):
    """Only tests marked ``gpu`` see GPUs: kernels there sum in an order that depends on shapes."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    """The longest first: beside a whole study, other workers go through the short ones."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    """Catalogue and tasks are found relative to the repository's root, as in a checkout."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session", autouse=True)
def bfloat16():
    """On every processor tests compute in bfloat16 where they ask for it: theirs are small."""
    from sft_tradeoff.system import processor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processor, "multiplies_bfloat16", lambda: True)
        yield


@pytest.fixture
def slow_bfloat16(monkeypatch):
    """As on a processor without bfloat16 products."""
    from sft_tradeoff.system import processor

    monkeypatch.setattr(processor, "multiplies_bfloat16", lambda: False)


@pytest.fixture(autouse=True)
def seeded():
    """Global generators begin every test alike, whichever tests this worker ran before.

    One that is not imported yet: torch's has a fixed seed at first, numpy's is not used.
    """
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """Folder of the two-layer random model."""
    from sft_tradeoff.models.build import build_model
    from sft_tradeoff.models.spec import ModelSpec

    folder = tmp_path_factory.mktemp("models") / "random-2layer"
    build_model("random-2layer", ModelSpec(format="random"), None, folder)
    return folder


@pytest.fixture(scope="session")
def cache():
    """The project's own cache, so that nothing is fetched twice."""
    return Path(os.environ.get("SFT_TRADEOFF_CACHE", ROOT / "resources")).resolve()


@pytest.fixture(scope="session")
def pretrained_model(cache):
    """Folder of SmolLM2-135M-Instruct, fetched and converted by the workflow's own rules."""
    from sft_tradeoff.models.spec import built_model

    record = built_model(cache, "smollm2-135m-instruct") / "MODEL.json"
    if not record.exists():
        snakemake(str(record), "--configfile", "config/studies/quick.yaml", cache=cache)
    return record.parent


def snakemake(*arguments, cache=None, cwd=ROOT, check=True):
    """Run the real Snakefile in a subprocess and return it, output captured."""
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    if cache is not None:
        environment["SFT_TRADEOFF_CACHE"] = str(cache)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    # One at a time in a folder: workers of pytest share the project's.
    (cwd / ".snakemake").mkdir(exist_ok=True)
    with FileLock(cwd / ".snakemake/tests.lock"):
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture
def checkout(tmp_path):
    """A copy of the files that git would clone, in a folder that only quoting keeps whole."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    target = tmp_path / ODD_NAME
    for name in filter(None, names):
        if (ROOT / name).is_symlink():
            (target / name).symlink_to(os.readlink(ROOT / name))
        elif (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture
def examples():
    """Records of unequal length for training tests."""
    return [
        {
            "id": f"e{i}",
            "prompt": f"Repeat {'x' * (3 * i % 17)}",
            "response": "y" * (1 + 5 * i % 23),
        }
        for i in range(24)
    ]


@pytest.fixture
def jsonl(tmp_path):
    """Write records to a JSONL file."""

    def write(records, name="data.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
        return path

    return write
