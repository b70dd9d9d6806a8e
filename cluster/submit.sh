#!/usr/bin/env bash
# `qsit run` as a job of the cluster of RAY_ADDRESS: cluster/submit.sh --preset demo --out /runs/demo
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="$root/.venv/bin:$PATH" exec qsit submit --working-dir "$root" -- run "$@"
