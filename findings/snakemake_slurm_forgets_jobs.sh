#!/usr/bin/env bash
# snakemake-executor-plugin-slurm 2.8.0 with snakemake 9.27.1 and --slurm-status-command squeue, on a cluster
# that has the program sacct but no accounting: every round of status checks first asks scontrol for
# MinJobAge. If this one question fails, the round asks sacct instead of squeue; when its five attempts have
# failed, all active jobs are forgotten. The run goes on waiting without asking again, though the job is done.
# Slurm's commands are stand-ins here, so that the script needs no cluster.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  'snakemake==9.27.1' 'snakemake-executor-plugin-slurm==2.8.0'
cd "$folder"
mkdir commands
stand_in() { # for the command of this name; its text comes from standard input
  { printf '#!/bin/sh\necho %s >> %s\n' "$1" "$folder/asked" && cat; } > "commands/$1"
  chmod +x "commands/$1"
}
stand_in sinfo <<< ''
stand_in scancel <<< ''
stand_in sacct <<< 'echo Slurm accounting storage is disabled >&2; exit 1'
stand_in squeue <<< 'echo "7|COMPLETED"'
stand_in sbatch <<< 'touch result.txt; echo 7'
stand_in scontrol <<< '[ -e result.txt ] && [ -e away ] && rm away && exit 1
echo "MinJobAge               = 300 sec"'
cat > Snakefile <<'SNAKEFILE'
rule result:
    output: "result.txt"
    shell: "touch {output}"
SNAKEFILE
run() {
  rm -rf result.txt asked .snakemake
  ended=yes
  PATH="$folder/commands:$PATH" timeout --signal=INT 20 venv/bin/snakemake --executor slurm --jobs 1 \
    --default-resources slurm_partition=main --slurm-status-command squeue \
    --slurm-init-seconds-before-status-checks 1 > log.txt 2>&1 || ended=no
  asked=$(sed '1,/sbatch/d; /scancel/d' asked | xargs)
  echo "asked after the job was submitted: $asked; ended within 20 s: $ended"
}
run
[ "$asked, $ended" = "scontrol squeue, yes" ]
touch away # the controller does not answer the first question after the job was submitted
run
[ "$asked, $ended" = "scontrol sacct sacct sacct sacct sacct, no" ]
grep -F "Falling back to 'sacct'" log.txt
