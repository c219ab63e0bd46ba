# `make reproduce` needs Python >= 3.11, make, and a package index that pip can reach.
SHELL := /bin/bash
STUDY ?= quick
CORES ?= all
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1
# Recipes read these from the environment, as they were given: neither make nor a shell evaluates them.
GIVEN := STUDY CORES COST REPLACE SEED DATA MODEL NAME METRIC DATA_COLUMNS NUMERIC_TOLERANCE TOLERANCE SMALLEST_GAIN CHAT_TEMPLATE_ARGS
$(foreach name,$(GIVEN),$(if $(filter command,$(firstword $(origin $(name)))),$(eval override $(name) := $$(value $(name)))))
export $(GIVEN)

.DEFAULT_GOAL := help
.PHONY: help setup reproduce study cost own data-given partial publish figures report test test-faults test-odd test-gpu test-slurm bench lint schema lock clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/installed.lock  ## Create .venv from the pinned lock

$(VENV)/installed.lock: requirements.lock
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python >= 3.11 is needed, this is ' + sys.version.split()[0] + '; run make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off -q -r requirements.lock
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q --no-deps -e .
	cp requirements.lock $@

reproduce: study  ## Run the quick study on a pretrained model, from nothing to its figure

study: setup  ## Run STUDY=<name> (config/studies/<name>.yaml); continues where it stopped
	@sft-tradeoff study "$$STUDY" --cores="$$CORES" --tolerance="$$TOLERANCE" --smallest-gain="$$SMALLEST_GAIN"

cost: setup  ## Estimate GPU-hours, disk and memory of STUDY (COST="--tflops 300": see sft-tradeoff cost --help)
	@set -f; sft-tradeoff cost --study="config/studies/$$STUDY.yaml" $$COST

# NAME counts only on the command line: some systems set it in the environment.
own: data-given setup  ## Your DATA=file or folder and MODEL=folder or name: figure and recommendation (NAME=, METRIC=, DATA_COLUMNS=, NUMERIC_TOLERANCE=, TOLERANCE=, SMALLEST_GAIN=, CHAT_TEMPLATE_ARGS=)
	@sft-tradeoff own --data="$$DATA" --model="$$MODEL" --name=$(if $(filter override,$(origin NAME)),"$$NAME") --metric="$$METRIC" --data-columns="$$DATA_COLUMNS" --numeric-tolerance="$$NUMERIC_TOLERANCE" --tolerance="$$TOLERANCE" --smallest-gain="$$SMALLEST_GAIN" --chat-template-args="$$CHAT_TEMPLATE_ARGS" --cores="$$CORES"

data-given:
	@test -n "$$DATA" || { echo "error: DATA is missing; run make own DATA=<file or folder>" >&2; exit 2; }

partial: setup  ## Table and figures of the runs of STUDY that exist so far; missing ones are listed
	@sft-tradeoff partial "$$STUDY"

publish: setup  ## Freeze the finished STUDY in results/published (REPLACE=yes: over another state of it)
	sft-tradeoff publish --study="config/studies/$$STUDY.yaml" --results="results/$$STUDY" --out="results/published/$$STUDY" $(if $(value REPLACE),--replace)

figures: setup  ## Redraw figures and tables of all published studies (or STUDY=<name>); trains nothing
	@sft-tradeoff redraw --cores="$$CORES" $(if $(filter file,$(origin STUDY)),,--study="$$STUDY")

report: setup  ## Write the page of STUDY=<name>, or of all published studies: one HTML file to explore
	@sft-tradeoff report $(if $(filter file,$(origin STUDY)),,"$$STUDY")

test: setup lint  ## Lint, unit tests and workflow tests
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 python -m pytest -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

test-faults: setup  ## Kill processes, fill disks, damage files, many times (an hour; SEED=: repeat a report's)
	HF_HUB_OFFLINE=1 python -m tests.faults --out results/faults.json $(if $(value SEED),--seed="$$SEED")

test-odd: setup  ## Try hundreds of odd data files, studies and model folders (10 min; SEED=: repeat a report's)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 python -m tests.odd_inputs --out results/odd_inputs $(if $(value SEED),--seed="$$SEED")

test-gpu: setup  ## GPU tests
	HF_HUB_OFFLINE=1 python -m pytest -m gpu

test-slurm: setup  ## Run a study on a private Slurm, with jobs killed and requeued (4 min; Debian, no root)
	HF_HUB_OFFLINE=1 python -m pytest -m slurm tests/slurm

bench: $(VENV)/installed.bench  ## Time methods, evaluation and training against other implementations (two to three hours)
	sft-tradeoff bench --cores="$$CORES"

# Without dependencies: the lock holds them all, and must not change.
$(VENV)/installed.bench: $(VENV)/installed.lock pyproject.toml
	python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps \
	  $$(python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'])")
	touch $@

lint: setup  ## Check style, types, imports, dependencies, spelling and workflow
	pre-commit run --all-files

schema: setup  ## Write the JSON schema of study files from the config models
	sft-tradeoff check --write-schema

lock: ## Pin the newest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	.venv-lock/bin/python -m pip freeze --all --exclude pip --exclude sft-tradeoff | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock

clean:  ## Remove results (but not the cache of downloads)
	find results -mindepth 1 -maxdepth 1 ! -name published -exec rm -rf {} +
