#!/usr/bin/env bash
# Everything that is asked of one data-centre card, in at most nine minutes: speed/gpu.sh [FOLDER] [words for speed/gpu.py]
# The report lies in FOLDER (default: $OUT, else results/gpu): gpu.json, gpu.md, latency.csv, whole after every measurement.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-${OUT:-results/gpu}}"
python="${PYTHON:-.venv/bin/python}"
export PYTORCH_CUDA_ALLOC_CONF="${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}"
mkdir -p "$folder"
# 500 s after which nothing new begins; what then still runs is ended at 535 s, and the report says what was not reached.
exec timeout --kill-after=5 535 "$python" speed/gpu.py --out "$folder" --budget 500 "${@:2}"
