#!/bin/sh
# Make the project's own environment: install.sh PYTHON FOLDER. Uses uv if it is there, else venv and pip.
# Everything is pinned, so nothing is resolved: --no-deps also spares the demo's model a compiler.
set -eu
python=$1
folder=$2
lock=requirements/all.lock

fail() {
  echo "$1" >&2
  exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  fail "Python 3.11 or later is needed; '$python' is not. Try: make PYTHON=python3.12 …"

if command -v uv >/dev/null 2>&1; then
  [ -x "$folder/bin/python" ] || uv venv --quiet --python "$python" "$folder"
  uv pip install --quiet --python "$folder/bin/python" --no-deps -r "$lock"
  uv pip install --quiet --python "$folder/bin/python" --no-deps --editable .
  exit 0
fi

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  # Debian and Ubuntu keep this part of Python in a package of its own.
  if "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --without-pip "$folder"
    "$python" -m pip --quiet --disable-pip-version-check --python "$folder/bin/python" install pip
  elif [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
  else
    fail "Python's venv is missing. Run: sudo apt-get install python3-venv   (or install uv)"
  fi
fi
[ -x "$folder/bin/pip" ] || "$python" -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$lock"
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --editable .
