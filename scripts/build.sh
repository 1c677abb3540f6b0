#!/usr/bin/env bash
# build.sh PRESET: configures and builds with the preset; llama.cpp comes from scripts/llama-cpp.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
prefix=$(scripts/llama-cpp.sh)
log=build/$preset/configure.log
mkdir -p "build/$preset"
cmake --preset "$preset" -DLLAMA_CPP_DIR="$prefix" >"$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
# Quiet when there is nothing to do, complete when something fails.
cmake --build --preset "$preset" -j "${JOBS:-$(nproc)}" >"build/$preset/build.log" 2>&1 || { grep -vE '^\[[0-9]+/[0-9]+\]' "build/$preset/build.log" >&2; exit 1; }
