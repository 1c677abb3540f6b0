#!/usr/bin/env bash
# The benchmarks of bench/README.md, one after the other; results in bench/results/.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 bench/wire_bench.py
model=$(scripts/default-model.sh)
INFERD_MODEL="$model" python3 bench/model_bench.py
