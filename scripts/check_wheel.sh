#!/usr/bin/env bash
# Builds the wheel, installs it without extras in an empty environment, away from the sources, and
# makes a call through a static registry.
set -euo pipefail
root=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$root/.venv/bin/python" -m build --wheel --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$root/.venv/bin/python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "$work"/dist/trimtab-*.whl
cp "$root/tests/packaging/static_call.py" "$work/"
cd "$work"
./venv/bin/python -W error static_call.py
