#!/bin/sh
# Makes .venv with everything `make` needs. Does nothing if .venv already matches pyproject.toml and constraints.txt.
# PYTHON names an interpreter other than python3.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=.venv
stamp=$venv/.installed

fail() {
    printf 'make: %s\n' "$@" >&2
    exit 2
}

# The stamp holds the directory too: the scripts of an environment copied with its checkout would run the old checkout's code.
wanted=$(pwd; cat pyproject.toml constraints.txt | cksum)
if [ -x $venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

if ! [ -x $venv/bin/python ] || [ "$(head -n 1 $stamp 2>/dev/null)" != "$(pwd)" ]; then
    command -v "$python" >/dev/null ||
        fail "$python is not installed; pit-join needs Python 3.10 or newer." \
            "On Debian or Ubuntu: apt-get install python3 python3-venv"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
        fail "$python does not run; name another interpreter: make PYTHON=python3.12 ..."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$python is Python $version; pit-join needs Python 3.10 or newer." \
            "Name a newer interpreter: make PYTHON=python3.12 ..."
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python $version has no working venv module." \
            "On Debian or Ubuntu: apt-get install python3-venv (or python$version-venv)"
    echo "make: setting up $venv with Python $version, about a minute"
    rm -rf $venv
    "$python" -m venv $venv
fi

rm -f $stamp
# hatchling first and without build isolation, so that the pinned one is used and downloaded once. -qq leaves errors only.
# --compile: dbt starts twice as fast with its bytecode, whatever the machine's own settings are.
pip="$venv/bin/python -m pip --disable-pip-version-check"
{ $pip install -qq --compile -c constraints.txt hatchling editables &&
    $pip install -qq --compile --no-build-isolation -c constraints.txt -e '.[dev]'; } ||
    fail "the packages could not be installed (pip's message is above)."
printf '%s\n' "$wanted" >$stamp
