#!/usr/bin/env bash
# Starts the daemon with the default model on its default socket, shows it loading, asks a first question, goes on serving.
# ONCE=1: ends after the answer. QUESTION: the first question. INFERD_MODEL and INFERD_MODEL_SHA256: another model file.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/release/bin
model=$(scripts/default-model.sh)
if [ -n "${INFERD_MODEL:-}" ]; then
  sha=${INFERD_MODEL_SHA256:-$(sha256sum "$model" | cut -d' ' -f1)}
else
  sha=$(basename "$(dirname "$model")")
fi
unset INFERD_MODEL INFERD_MODEL_SHA256
question=${QUESTION:-"What is a daemon in computing? Answer in one sentence."}

"$bin/inferd-daemon" --backend llamacpp --model-path "$model" --model-sha256 "$sha" &
daemon=$!
stop() { kill -TERM "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true; }
trap stop EXIT
trap 'exit 0' INT TERM
echo "> $question"
"$bin/inferdctl" run --wait 120 --max-tokens 100 "$question" || { code=$?; echo "no answer (inferdctl: $code); the lines above say why" >&2; exit 1; }
[ "${ONCE:-}" = 1 ] && exit 0
cat <<END

It serves until Ctrl-C. Try in another terminal:
  $bin/inferdctl run -i                          a conversation
  echo "Write a haiku" | $bin/inferdctl run      a prompt from a pipe
  $bin/inferdctl status                          what the daemon is doing
END
wait "$daemon"
