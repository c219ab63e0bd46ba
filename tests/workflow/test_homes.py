"""Users of containers: without a name, and without a home that they may write to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow
NAMELESS = ("unshare", "--user", "--map-user=12345", "--map-group=12345")


@pytest.mark.parametrize("home", [None, "not writable"])
def test_a_user_without_name_and_home_redraws_a_study(checkout, tmp_path, home):
    if subprocess.run([*NAMELESS, "true"], capture_output=True).returncode:
        pytest.skip("the kernel grants no user namespace")
    scripts = Path(sys.executable).parent
    environment = {
        "PATH": f"{scripts}:{os.defpath}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    if home:
        (tmp_path / home).mkdir(mode=0o555)
        environment["HOME"] = str(tmp_path / home)
    drawn = checkout / "figures/quick/tradeoff.png"
    drawn.unlink()
    redraw = [*NAMELESS, "sft-tradeoff", "redraw", "--study=quick", "--cores=2"]
    done = subprocess.run(redraw, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert drawn.exists() and (checkout / ".snakemake/home").is_dir()
    assert not (checkout / "~").exists()
