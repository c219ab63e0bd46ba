"""What Snakemake does after it has made the conda environment of the rules."""

import os
import subprocess
from pathlib import Path

from snakemake.sourcecache import LocalSourceFile


def test_snakemake_finds_the_script_that_installs_the_console_command(tmp_path):
    """Named after the environment; run by its first line's interpreter, in the project's folder."""
    file = LocalSourceFile("environment.yml").replace_suffix([".yml"], ".post-deploy.sh")
    script = Path(file.get_path_or_uri(secret_free=True))
    first = script.read_text().splitlines()[0]
    assert first.startswith("#!")
    recorder = tmp_path / "python"
    recorder.write_text(f'#!/bin/sh\npwd > "{tmp_path}/call"\necho "$@" >> "{tmp_path}/call"\n')
    recorder.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = f"{first[2:].strip()} {script}"
    subprocess.run(command, shell=True, env=environment, check=True)
    called = (tmp_path / "call").read_text().splitlines()
    assert called == [str(Path.cwd()), "-m pip install --no-deps -e ."]
