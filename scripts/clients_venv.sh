#!/usr/bin/env bash
# Makes the environment of the clients in tests/clients, .venv-clients, and prints its Python.
# Done in a moment if it is there already; made anew when what it has to hold changes.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-clients
uv=.venv/bin/uv
# One at a time: tests in parallel ask for it, too.
exec 9>.venv/.clients.lock
flock 9
state=$(cat pyproject.toml tests/clients/requirements.txt | sha256sum)
if [ "$(cat $venv/.installed 2>/dev/null || true)" != "$state" ]; then
  "$uv" venv --quiet --clear --python .venv/bin/python "$venv" >&2
  "$uv" pip install --quiet --python "$venv/bin/python" --editable . -r tests/clients/requirements.txt >&2
  echo "$state" > "$venv/.installed"
fi
echo "$PWD/$venv/bin/python"
