#!/usr/bin/env bash
# test.sh PRESET: builds with the preset and runs the whole suite: unit tests (ctest), then the end-to-end tests (pytest).
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
scripts/build.sh "$preset"
model=$(scripts/default-model.sh)
python=$(scripts/python-env.sh tests -r tests/requirements.txt)
runner=()
if [ "$preset" = asan ]; then
  export ASAN_OPTIONS=detect_stack_use_after_return=1:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
elif [ "$preset" = tsan ]; then
  export TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp:halt_on_error=1:second_deadlock_stack=1"
  runner=(setarch "$(uname -m)" -R)   # tsan wants a fixed address layout
fi
"${runner[@]}" ctest --test-dir "build/$preset" -j "$(nproc)" --output-on-failure --no-tests=error
export INFERD_BIN_DIR="$PWD/build/$preset/bin" INFERD_MODEL="$model"
# The model of the tests of embeddings: only those of the second run use it.
[ "${TESTS:-all}" = mock ] || { INFERD_EMBED_MODEL=$(scripts/minilm.sh) && export INFERD_EMBED_MODEL; }
# Tests on the mock backend mostly wait: several at a time. Those with the model use every CPU: one at a time.
"${runner[@]}" "$python/bin/python" -m pytest -q -rs -n 3 tests --ignore-glob='*test_llamacpp_*'
# TESTS=mock leaves them out.
[ "${TESTS:-all}" = mock ] && exit 0
"${runner[@]}" "$python/bin/python" -m pytest -q -rs tests/e2e/test_llamacpp_*.py tests/issues/test_llamacpp_*.py
