#!/usr/bin/env bash
# Prints the path of an nginx for bench/fetch_bench.py. Where none is installed, Debian's package is unpacked into the cache: installing it
# would start a web server of the whole machine. Needs no root, but apt's lists (apt-get update).
set -euo pipefail
for installed in "$(command -v nginx || true)" /usr/sbin/nginx; do
  [ -x "$installed" ] && { echo "$installed"; exit 0; }
done
folder=${INFERD_CACHE:-$HOME/.cache/inferd}/nginx
program=$folder/usr/sbin/nginx
if [ ! -x "$program" ]; then
  mkdir -p "$(dirname "$folder")"
  exec 9>"$folder.lock"; flock 9
  if [ ! -x "$program" ]; then
    echo "[nginx] getting Debian's package" >&2
    download=$(mktemp -d "$folder.XXXXXX")
    (cd "$download" && apt-get download -qq nginx >&2 && dpkg-deb -x nginx_*.deb "$download/unpacked")
    rm -rf "$folder"; mv "$download/unpacked" "$folder"; rm -rf "$download"
  fi
fi
"$program" -v 2>/dev/null || { echo "$program does not run: install Debian's package nginx" >&2; exit 1; }
echo "$program"
