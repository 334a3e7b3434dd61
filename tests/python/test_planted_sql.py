"""SQL that others have written into a store: a reader runs expressions of arguments, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import lmdb
import pytest
from http_servers import serving
from support.on_demand_cases import AT, STORED, Both, macro, manifest_of
from support.projects import run

from pit_join import FeatureStore
from pit_join.errors import StoreError
from pit_join.records.store_manifest import Contents
from pit_join.warehouse.expressions import problem_of_statements

pytestmark = pytest.mark.slow

RATIO = macro("ratio", "{{ one }} / nullif({{ other }}, 0)", {"one": "double", "other": "double"}, returns="double")
ASKED = {"on_demand": "ratio", "arguments": {"one": "r_double", "other": "facts:f_double"}}
ROW = {"id": 1, "r_double": 10.0}
BODY = {"feature_service": "s", "entities": {"id": [1], "r_double": [10.0]}}
STORED_ALONE = {"features": ["facts:f_int"], "entities": {"id": [1]}}
FROM = 'as "ratio" from _pit_arguments'
SAYS = "the online store is damaged: the SQL of its on-demand features cannot be that of an export"

NOT_ROW_BY_ROW = "it is not one query of _pit_arguments, row by row"
PLANTED = {
    "selec 1": "syntax error",
    "": NOT_ROW_BY_ROW,
    "copy (select 1) to 'planted.csv'": "it is not a query",
    f"select 1.0 {FROM}; copy (select 1) to 'planted.csv'": "it is not a query",
    f"select 1.0 {FROM}; select 2.0 {FROM}": NOT_ROW_BY_ROW,
    "attach 'planted.db'": "it is not a query",
    "install httpfs": "it is not a query",
    "load httpfs": "it is not a query",
    "pragma threads = 1": "it is not a query",
    f"select 1.0::double {FROM}; set TimeZone = 'Asia/Tokyo'": "it is not a query",
    "create or replace macro sin(x) as 7": "it is not a query",
    "from read_csv('/etc/passwd')": NOT_ROW_BY_ROW,
    f"select (select content from read_text('/etc/passwd')) {FROM}": "it holds a subquery",
    f"select (select count(*) from range(1000000000000) a, range(1000000) b)::double {FROM}": "it holds a subquery",
    'with recursive t as (select 1.0::double as x union all from t) select x as "ratio" from t': NOT_ROW_BY_ROW,
    'select r::double as "ratio" from range(1000000000000) t(r)': NOT_ROW_BY_ROW,
    'select 1.0::double as "ratio" from _pit_arguments, range(3)': NOT_ROW_BY_ROW,
    f"select 1.0::double {FROM} where false": NOT_ROW_BY_ROW,
    f"select 1.0::double {FROM} limit 0": NOT_ROW_BY_ROW,
    f"select distinct 1.0::double {FROM}": NOT_ROW_BY_ROW,
    f"select 1.0::double {FROM} union all select 2.0": NOT_ROW_BY_ROW,
    f"select sum(1.0)::double {FROM}": "sum looks at more than one row",
    f"select unnest([1.0])::double {FROM}": "unnest looks at more than one row",
    f"select sleep_ms(100000)::double {FROM}": "sleep_ms does not give the same value at any time",
    f"select current_setting('temp_directory') {FROM}": "current_setting reads the session",
    f"select error('x')::double {FROM}": "error would end whole requests",
    "select 1.0::double as other from _pit_arguments": "its columns are not ratio ",
    f"select 'x' {FROM}": "its columns are not ratio ",
    "select _pit_arguments.* from _pit_arguments": "its columns are not ratio ",
    "select 1.0::double as \"ratio\" from _pit_arguments, '/etc/passwd'": NOT_ROW_BY_ROW,
    f"select {'+'.join(['1'] * 500)}::double {FROM}": "it is nested too deeply|expression depth",
    f"select $1::double {FROM}": "not provided",
}


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A store with the service `s`, which has an on-demand feature, and what the store says of itself."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch, duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        both = Both(connection, folder, patch)
        both.load([{"id": 1, **dict.fromkeys([source.name for source in STORED]), "f_double": 4.0, "f_int": 3}])
        both.run(manifest_of({"ratio": RATIO}, [ASKED, "facts:f_int"]), int(AT.timestamp() * 1e6))
    _, data = both.store().contents()
    assert data is not None
    return folder / "store", data


def planted(contents: tuple[Path, bytes], folder: Path, change: Callable[[bytes], bytes]) -> Path:
    """A copy of the store, with a changed description."""
    folder.mkdir()
    (folder / "data.mdb").write_bytes((contents[0] / "data.mdb").read_bytes())
    put(folder, change(contents[1]))
    return folder


def put(folder: Path, data: bytes) -> None:
    with lmdb.open(str(folder), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"\0", data)


def with_sql(*statements: str) -> Callable[[bytes], bytes]:
    """Replace the statements of the service, with the right checksum."""

    def change(data: bytes) -> bytes:
        read = Contents.from_json(data, "")
        return replace(read, services={"s": replace(read.services["s"], on_demand=statements)}).to_json()

    return change


def with_feature(**changes: Any) -> Callable[[bytes], bytes]:
    """Change what the store says of the on-demand feature, without a checksum, as in older stores."""

    def change(data: bytes) -> bytes:
        read = json.loads(data)
        del read["checksum"]
        read["services"]["s"]["features"][0] |= changes
        return json.dumps(read).encode()

    return change


def ask(folder: Path) -> Any:
    return FeatureStore(online_store=folder).get_online_features("s", [ROW], now=AT).to_dict()


def test_the_sql_of_an_export_is_run(contents: tuple[Path, bytes], tmp_path: Path) -> None:
    assert ask(planted(contents, tmp_path / "online", lambda data: data)) == {"id": [1], "ratio": [2.5], "f_int": [3]}


@pytest.mark.parametrize("statement", PLANTED)
def test_other_sql_is_refused(statement: str, contents: tuple[Path, bytes]) -> None:
    """Wherever it stands among the statements of a service."""
    right = Contents.from_json(contents[1], "").services["s"].on_demand or ()
    arguments, returns = (("facts:f_double", ()), ("r_double", ("double",))), (("ratio", "double"),)
    assert problem_of_statements(right, arguments, returns) is None
    for number in range(3):
        problem = problem_of_statements((*right[:number], statement, *right[number + 1 :]), arguments, returns)
        assert re.search(PLANTED[statement], str(problem)), problem


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_sql(*["copy (select 1) to 'planted.csv'"] * 3), rf"{SAYS} \(it is not a query\); run pit-join export"),
        (with_sql(*[f"select 1.0::double {FROM}; set threads = 1"] * 2), SAYS),
        (with_feature(returns="double) , (select 1"), rf"{SAYS} \(there is no type double"),
        (
            with_feature(types={"one": "int); copy (select 1) to 'x.csv'; --", "other": "double"}),
            "there is no type int",
        ),
        (with_feature(types={}), SAYS),
        (with_feature(types=["double"]), "contents cannot be read"),
        (with_feature(arguments={"one": 1}), "contents cannot be read"),
        (with_feature(returns=5), "contents cannot be read"),
        (with_feature(returns="double\ud800"), "contents cannot be read"),
        (lambda data: data.replace(b'"pit_join"', b'"other"'), "contents do not have the checksum"),
    ],
)
def test_a_planted_store(
    change: Callable[[bytes], bytes],
    says: str,
    contents: tuple[Path, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = planted(contents, tmp_path / "online", change)
    with pytest.raises(StoreError, match=says):
        ask(folder)
    done = run("--store", str(folder), "get", "--service", "s", "--entity", "id=1", "--entity", "r_double=1")
    assert done.status == 3
    assert re.fullmatch(rf"Error: .*{says}.*\n", done.err), done.err
    assert [path.name for path in tmp_path.iterdir()] == ["online"]


def test_over_http(contents: tuple[Path, bytes], tmp_path: Path) -> None:
    """The server starts, answers with one sentence, and serves all else; also where the SQL is planted later."""
    folder = planted(contents, tmp_path / "online", with_sql(*[f"select sleep_ms(100000)::double {FROM}"] * 3))
    with serving(folder, "--now", AT.isoformat()) as server:
        answer = server.ask(BODY)
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("the online store cannot be read")
        assert server.says(SAYS)
        assert server.ask(STORED_ALONE).json()["results"][1]["values"] == [3]
        put(folder, contents[1])
        assert server.ask(BODY).json()["results"][1]["values"] == [2.5]
        put(folder, with_sql(*[f"select 1.0::double {FROM}; set threads = 1"] * 3)(contents[1]))
        answer = server.ask(BODY)
        assert answer.status_code == 200
        assert answer.json()["results"][2]["statuses"] == ["STORE_FAILED"]
        assert server.ask(STORED_ALONE).json()["results"][1]["values"] == [3]
        assert "Traceback" not in "\n".join(server.said)


def test_over_http_with_strict(contents: tuple[Path, bytes], tmp_path: Path) -> None:
    """A request that was prepared before is an error, too."""
    folder = planted(contents, tmp_path / "online", lambda data: data)
    with serving(folder, "--now", AT.isoformat(), "--strict") as server:
        assert server.ask(BODY).json()["results"][1]["values"] == [2.5]
        put(folder, with_sql(*[f"select 1.0::double {FROM}; set threads = 1"] * 3)(contents[1]))
        assert server.ask(BODY).status_code == 503
