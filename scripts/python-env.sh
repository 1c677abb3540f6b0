#!/usr/bin/env bash
# python-env.sh NAME REQUIREMENT...: makes (once) a Python environment in the cache that holds the requirements; prints its folder.
# A requirement is what pip takes, or -r FILE.
set -euo pipefail
cache=${INFERD_CACHE:-$HOME/.cache/inferd}
name=$1; shift
key=$( { printf '%s\n' "$@"; python3 --version; for a in "$@"; do [ -f "$a" ] && cat "$a"; done; true; } | sha256sum | cut -c1-12)
env=$cache/python/$name-$key
if [ ! -e "$env/.complete" ]; then
  mkdir -p "$cache/python"
  exec 9>"$env.lock"; flock 9
  if [ ! -e "$env/.complete" ]; then
    rm -rf "$env"; python3 -m venv "$env" >&2
    [ $# = 0 ] || "$env/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
    touch "$env/.complete"
  fi
fi
echo "$env"
