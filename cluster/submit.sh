#!/usr/bin/env bash
# Submits `qsit run` with the given arguments to a running cluster and follows its output:
#   RAY_ADDRESS=http://127.0.0.1:8265 cluster/submit.sh --preset demo --out /runs/demo
# This checkout goes along as working_dir, before the package installed on the nodes.
set -euo pipefail

usage() {
  echo "submit.sh: $1" >&2
  exit 2
}
[[ -n "${RAY_ADDRESS:-}" ]] ||
  usage "RAY_ADDRESS is not set; expected the dashboard's address, such as http://127.0.0.1:8265"
[[ $# -gt 0 ]] ||
  usage "no arguments; expected those of \`qsit run\`, such as --preset demo --out /runs/demo"

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PATH="$root/.venv/bin:$PATH" RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"
exec ray job submit --working-dir "$root" -- qsit run "$@"
