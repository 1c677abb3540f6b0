#!/usr/bin/env bash
# Installs the Debian packages that building and testing need and that are missing. Needs root or sudo only if some are.
set -euo pipefail
packages=(build-essential cmake ninja-build pkg-config git ca-certificates python3 python3-venv
  libboost1.81-dev libboost-json1.81-dev libspdlog-dev libcli11-dev libre2-dev libssl-dev
  libseccomp-dev libsystemd-dev libcurl4-openssl-dev
  libpng-dev libturbojpeg0-dev libsndfile1-dev
  libgtest-dev libgmock-dev)
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0
echo "[packages] installing ${missing[*]}" >&2
as_root=(); if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "not root and no sudo: install ${missing[*]} yourself, then try again" >&2; exit 1; }
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
