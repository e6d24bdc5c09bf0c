#!/usr/bin/env bash
# Builds the wheel and tries it as users would, in empty environments away from the sources: without
# extras by a call through a static registry, then as the README's install line says by the README's
# first example.
#
#   scripts/check_wheel.sh [FOLDER]     the wheel is kept in FOLDER
set -euo pipefail
root=$(pwd)
python=$root/.venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m build --wheel --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
wheel=$(echo "$work"/dist/trimtab-*.whl)
extras=$(sed -n '/^pip install "\.\[/{s/^pip install "\.\(\[[a-z0-9,]*\]\)".*/\1/p;q}' README.md)
cp tests/packaging/*.py README.md "$work/"
[ $# = 0 ] || { mkdir -p "$1" && cp "$wheel" "$1/"; }
cd "$work"

try() { # try EXTRAS PROGRAM
  "$python" -m venv --clear venv
  venv/bin/pip install --quiet --disable-pip-version-check "$wheel$1"
  venv/bin/python -W error "$2"
}
try "" static_call.py
try "${extras:?README.md has no install line}" readme_example.py
