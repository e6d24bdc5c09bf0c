#!/usr/bin/env bash
# Makes a virtual environment in $1; on a bare Debian it first installs what `venv` needs.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}
[ -x "$venv/bin/pip" ] && exit 0
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  else
    echo "This Python cannot make virtual environments: install the package python3-venv." >&2
    exit 1
  fi
fi
"$python" -m venv "$venv"
