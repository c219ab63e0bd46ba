#!/usr/bin/env bash
# Snakemake 9.27.1: while a file that a rule takes through ancient() is itself being rebuilt, nothing that
# comes after that rule is planned, not even a job whose own parameters have changed. The run ends without
# an error and with the old results; only a second call brings them up to date.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'snakemake==9.27.1'
cd "$folder"
cat > Snakefile <<'SNAKEFILE'
rule all:
    input: "table.txt"

rule items:
    output: "items.txt"
    params: version=config["items"]
    shell: "echo items > {output}"

rule score:
    input: ancient("items.txt")
    output: "scores.txt"
    shell: "echo scores > {output}"

rule table:
    input: "scores.txt"
    output: "table.txt"
    params: version=config["table"]
    shell: "echo table > {output}"
SNAKEFILE
run() { venv/bin/snakemake --cores 1 --config "items=$1" "table=$2" > log.txt 2>&1; }
planned() {
  venv/bin/snakemake --dry-run --config "items=$1" "table=$2" 2>&1 |
    awk '$1 ~ /^(items|score|table)$/ && $2 == 1 && NF == 2 {print $1}' | sort -u | xargs
}
run 1 1
table=$(planned 1 2)
both=$(planned 2 2)
run 2 2
later=$(planned 2 2)
echo "after a change of table's parameters, planned: $table"
echo "after a change of both rules' parameters, planned: $both"
echo "after that run, planned: $later"
[ "$table, $both, $later" = "table, items, table" ]
