#!/usr/bin/env bash
# Snakemake runs this in the environment that it has made from environment.yml, from the project's
# folder: rules call the console command of this checkout.
set -euo pipefail
python -m pip install --no-deps -e .
