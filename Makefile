# `make reproduce` needs nothing but Python >= 3.11, make, and a package index that pip can reach.
SHELL := /bin/bash
STUDY ?= quick
CORES ?= all
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1
# Jobs run side by side only as far as they fit into memory.
MEMORY_MB = $(shell $(PYTHON) -c "import os; print(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') * 9 // 10 // 2**20)")
PARTIAL = results/$(STUDY)/partial
# Numbers of the recommendation, on which no run depends.
ASKED = $(if $(TOLERANCE),tolerance="$$TOLERANCE") $(if $(SMALLEST_GAIN),smallest_gain="$$SMALLEST_GAIN")
SNAKEMAKE = snakemake $(if $(strip $(ASKED)),--config $(ASKED)) \
  --resources mem_mb=$(MEMORY_MB) --configfile config/studies/$(STUDY).yaml --cores $(CORES)

.DEFAULT_GOAL := help
.PHONY: help setup reproduce study cost own partial publish figures test test-faults test-gpu test-slurm bench lint schema lock clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/installed.lock  ## Create .venv from the pinned lock

$(VENV)/installed.lock: requirements.lock
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python >= 3.11 is needed, this is ' + sys.version.split()[0] + '; run make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off -q -r requirements.lock
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q --no-deps -e .
	cp requirements.lock $@

reproduce: study  ## Run the quick study on a real pretrained model, from nothing to its figure

# Snakemake's own lock survives its kill; ours does not, and tells a running study from a killed one.
# Material first: where a file behind ancient() is rebuilt, Snakemake plans nothing that comes after it.
# What a clock that is set back leaves in the future becomes as old as the lock, that is new: Snakemake
# would delete all that is made of it, for being older. (-c: a file that just went is not made anew; files
# with several links and what links point to may be the user's own.)
study: setup  ## Run STUDY=<name> (config/studies/<name>.yaml); continues where it stopped
	@! grep -qsE '^results_source: *.?published' config/studies/$(STUDY).yaml || \
	  { echo "$(STUDY) is drawn from what is published: make figures STUDY=$(STUDY)"; exit 1; }
	@sft-tradeoff check config/studies/$(STUDY).yaml > /dev/null
	@exec 9>.venv/study.lock; flock -n 9 || { echo "Another study is running in this folder: wait for it, or end it"; exit 1; }; \
	find -H src workflow results "$${SFT_TRADEOFF_CACHE:-resources}" -newer .venv/study.lock ! \( -type f -links +1 \) -exec touch -h -c -r .venv/study.lock {} + 2>/dev/null; \
	if [ -n "$$(ls -A .snakemake/locks 2>/dev/null)" ]; then $(SNAKEMAKE) --unlock; fi; \
	$(SNAKEMAKE) material && $(SNAKEMAKE) || { \
	  [ -w results ] || [ ! -e results ] || echo "error: the folder results cannot be written; correct its permissions, or make it a link to one that can, and run the same command again"; exit 1; }
	@sft-tradeoff tables --tradeoff results/$(STUDY)/tradeoff_over_seeds.csv --show results/$(STUDY)/tables results/$(STUDY)/figures

cost: setup  ## Estimate GPU-hours, disk and memory of STUDY (COST="--tflops 300": see sft_tradeoff.planning.cost --help)
	@sft-tradeoff cost --study config/studies/$(STUDY).yaml $(COST)

own: export MODEL ?= smollm2-135m-instruct
own: setup  ## Your DATA=file.jsonl and MODEL=folder or name: figure and recommendation (NAME=, METRIC=, NUMERIC_TOLERANCE=, TOLERANCE=, SMALLEST_GAIN=, CHAT_TEMPLATE_ARGS=)
	@$(if $(DATA),,$(error DATA is missing; run make own DATA=file.jsonl))\
	study=$$(sft-tradeoff own --data "$$DATA" --model "$$MODEL" --tolerance "$$TOLERANCE" --smallest-gain "$$SMALLEST_GAIN" \
	  $(if $(METRIC),--metric "$$METRIC") $(if $(NUMERIC_TOLERANCE),--numeric-tolerance "$$NUMERIC_TOLERANCE") \
	  --chat-template-args "$$CHAT_TEMPLATE_ARGS" \
	  $(if $(filter command,$(firstword $(origin NAME))),--name "$$NAME")) || exit 1; \
	$(MAKE) --no-print-directory study STUDY="$$study" && echo && cat "results/$$study/recommendation.md" && \
	printf '\nThis page: %s; beside it figures, tables and scores. Settings: %s\n' "results/$$study/recommendation.md" "config/studies/$$study.yaml"

partial: setup  ## Table and figures of the runs of STUDY that exist so far; missing ones are listed
	sft-tradeoff runs --study config/studies/$(STUDY).yaml --out $(PARTIAL)/run_table.csv
	sft-tradeoff aggregate --run-table $(PARTIAL)/run_table.csv --runs results/$(STUDY)/runs --scores $(PARTIAL)/scores.csv --tradeoff $(PARTIAL)/tradeoff.csv --over-seeds $(PARTIAL)/tradeoff_over_seeds.csv
	sft-tradeoff figure tradeoff --tradeoff $(PARTIAL)/tradeoff_over_seeds.csv --out-stem $(PARTIAL)/tradeoff
	sft-tradeoff figure learning_rate --tradeoff $(PARTIAL)/tradeoff_over_seeds.csv --out-stem $(PARTIAL)/learning_rate
	@sft-tradeoff tables --tradeoff $(PARTIAL)/tradeoff_over_seeds.csv --out-dir $(PARTIAL) --show $(PARTIAL)

publish: setup  ## Freeze the finished STUDY in results/published (REPLACE=yes: over another state of it)
	sft-tradeoff publish --study config/studies/$(STUDY).yaml --results results/$(STUDY) --out results/published/$(STUDY) $(if $(REPLACE),--replace)

# Forced, because file times in a clone mean nothing; --nolock, so that a study may be running.
figures: setup  ## Redraw figures and tables of all published studies (or STUDY=<name>); trains nothing
	snakemake --snakefile workflow/published.smk --cores $(CORES) --forceall --nolock $(if $(filter file,$(origin STUDY)),,--config study=$(STUDY))

test: setup lint  ## Lint, unit tests and workflow tests
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 python -m pytest -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

test-faults: setup  ## Kill, fill disks, damage files, ..., many times (an hour; SEED=: of a report)
	HF_HUB_OFFLINE=1 python -m tests.faults --out results/faults.json $(if $(SEED),--seed $(SEED))

test-gpu: setup  ## Tests of a machine with a GPU; all others hide it
	HF_HUB_OFFLINE=1 python -m pytest -m gpu

test-slurm: setup  ## Run a study on a Slurm of its own, jobs killed and requeued (4 min; Debian, no root)
	HF_HUB_OFFLINE=1 python -m pytest -m slurm tests/slurm

bench: $(VENV)/installed.bench  ## Time methods, evaluation and training against what they are compared with (two to three hours)
	snakemake material --cores $(CORES) --configfile config/studies/quick.yaml
	python benchmarks/methods.py
	python benchmarks/evaluation.py
	python benchmarks/training.py --contenders trl_fp32 trainer_fp32 ours_fp32 --float32-steps 20 \
	  --batch-size 4 --out results/bench/float32
	python benchmarks/training.py
	python benchmarks/linear_cost.py

# Without dependencies: the lock holds all of them, and may not change.
$(VENV)/installed.bench: $(VENV)/installed.lock pyproject.toml
	python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps \
	  $$(python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'])")
	touch $@

lint: setup  ## Check style, types, imports, dependencies, spelling and workflow
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	deptry src
	codespell
	snakefmt --check Snakefile workflow
	snakemake --lint --configfile config/studies/smoke.yaml

schema: setup  ## Write the JSON schema of study files from the config models
	sft-tradeoff check --write-schema

lock: ## Resolve the newest versions that pyproject.toml allows and pin them
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	.venv-lock/bin/python -m pip freeze --all --exclude pip --exclude sft-tradeoff | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock

clean:  ## Remove results (not the cache of fetched material)
	find results -mindepth 1 -maxdepth 1 ! -name published -exec rm -rf {} +
